/* The service's pure parts: names of hosts and sites, rates, cards, command lines, paths in what children say. */
#include "service/api/access.h"
#include "service/api/estimates.h"
#include "service/api/job_request.h"
#include "service/system/machine.h"
#include "service/api/rates.h"
#include "service/child/roots.h"
#include "service/runner/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_hosts(void **state)
{
    static const struct {
        const char *header, *name; /* NULL: none */
    } cases[] = {{"localhost", "localhost"},
                 {"LocalHost:80", "localhost"},
                 {"localhost.", "localhost"},
                 {"[::1]", "::1"},
                 {"[FE80::1]:8700", "fe80::1"},
                 {"a.example:", "a.example"},
                 {"", NULL},
                 {":80", NULL},
                 {"a:b", NULL},
                 {"a:80:80", NULL},
                 {"[::1", NULL},
                 {"[::1]x", NULL},
                 {"[]", NULL},
                 {"[::1]:x", NULL},
                 {".", "."}};
    char name[256], longest[300];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool known = access_host_name(cases[i].header, name);
        if (known != (cases[i].name != NULL)) fail_msg("%s", cases[i].header);
        if (known) assert_string_equal(name, cases[i].name);
    }
    memset(longest, 'a', sizeof longest);
    longest[255] = '\0';
    assert_true(access_host_name(longest, name));
    longest[255] = 'a', longest[256] = '\0';
    assert_false(access_host_name(longest, name));
}

static void test_allowed_hosts(void **state)
{
    char own[] = "quant.example.org", *names[] = {own};
    const struct settings_list some = {names, 1}, none = {NULL, 0};
    assert_true(access_host_allowed("127.0.0.1:1", "127.0.0.1", &none));
    assert_true(access_host_allowed("10.1.2.3", "10.1.2.3", &none));
    assert_false(access_host_allowed("10.1.2.4", "10.1.2.3", &none));
    assert_true(access_host_allowed("[fd00:0::1]", "fd00::1", &none));
    assert_true(access_host_allowed("192.168.1.9", "0.0.0.0", &none));
    assert_true(access_host_allowed("[fd00::2]", "::", &none));
    assert_false(access_host_allowed("evil.example", "0.0.0.0", &some));
    assert_true(access_host_allowed("Quant.Example.org:443", "0.0.0.0", &some));
    assert_false(access_host_allowed("quant.example.org.evil", "0.0.0.0", &some));
    assert_false(access_host_allowed(NULL, "127.0.0.1", &none));
}

static void test_sites(void **state)
{
    assert_true(access_same_site("http://localhost:8700", "localhost:8700"));
    assert_true(access_same_site("https://Quant.example.org", "quant.example.org"));
    assert_false(access_same_site("http://localhost:8701", "localhost:8700"));
    assert_false(access_same_site("http://localhost:8700/", "localhost:8700"));
    assert_false(access_same_site("null", "localhost:8700"));
    assert_false(access_same_site("localhost:8700", "localhost:8700"));
    assert_false(access_same_site("http://localhost:8700", NULL));
}

static void test_rates(void **state)
{
    struct rates *rates = rates_open(0.1, 3), *none = rates_open(0, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rates_wait(rates, "a", true), 0);
    int wait = rates_wait(rates, "a", true);
    assert_in_range(wait, 9, 10);
    assert_int_equal(rates_wait(rates, "b", true), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rates_wait(rates, "c", false), 0); /* only looking */
    for (int i = 0; i < 1000; i++)
        assert_int_equal(rates_wait(none, "a", true), 0);
    rates_close(&rates);
    rates_close(&none);
    assert_null(rates);
}

static void test_cards(void **state)
{
    json_t *gpu = machine_gpu("NVIDIA H200, 143771, 143000, 25");
    assert_string_equal(json_string_value(json_object_get(gpu, "name")), "NVIDIA H200");
    assert_int_equal(json_integer_value(json_object_get(gpu, "memory_total_bytes")), 143771LL << 20);
    assert_true(json_real_value(json_object_get(gpu, "utilization")) == 0.25);
    json_decref(gpu);
    gpu = machine_gpu("NVIDIA GB10, 1000, 900, [N/A]");
    assert_true(json_is_null(json_object_get(gpu, "utilization")));
    json_decref(gpu);
    assert_null(machine_gpu("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."));
    assert_null(machine_gpu(""));
    assert_null(machine_gpu("x, y, z"));
}

static char *command_of(const char *request)
{
    static const char *const extra[] = {"--json", NULL};
    json_t *r = json_loads(request, 0, NULL);
    char **arguments = command_arguments("quantize", r, "/models/it's", extra);
    char *text = command_text(arguments);
    command_free(&arguments);
    json_decref(r);
    return text;
}

static void test_commands(void **state)
{
    static const char *const cases[][2] = {
        {"{\"gguf_quant_types\": [\"Q4_K_M\", \"Q8_0\"]}", "--type=Q4_K_M,Q8_0 --json"},
        {"{\"config\": {\"threads\": 3, \"measure\": true}}", "--threads=3 --measure --json"},
        {"{\"config\": {\"threads\": 3}, \"options\": {\"threads\": 5, \"pure\": true, \"keep-split\": false}}",
         "--threads=5 --pure --json"},
        {"{\"config\": {\"use_imatrix\": true, \"calibration_samples\": 9}}",
         "--calibration=default --chunks=9 --json"},
        {"{\"config\": {\"use_imatrix\": false, \"imatrix_dataset\": \"/m/a.gguf\"}}", "--json"},
        {"{\"config\": {\"imatrix_dataset\": \"/m/a.gguf\"}}", "--imatrix=/m/a.gguf --json"},
        {"{\"config\": {\"use_imatrix\": true}, \"options\": {\"imatrix\": \"/m/b.dat\"}}",
         "--imatrix=/m/b.dat --json"},
        {"{\"options\": {\"tensor-type\": [\"a=q6_k\", \"b|c=q8_0\"], \"ctx\": 64}}",
         "--tensor-type=a=q6_k '--tensor-type=b|c=q8_0' --ctx=64 --json"},
        {"{\"options\": {\"cache-type\": \"q8_0\"}}", "--json"}, /* not of this verb */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char wanted[300], *text = command_of(cases[i][0]);
        snprintf(wanted, sizeof wanted, "halftone quantize %s -- '/models/it'\\''s'", cases[i][1]);
        assert_string_equal(text, wanted);
        free(text);
    }
}

/* What is asked for, in every way that it can be said, as one list. */
static void test_outputs(void **state)
{
#define Q4 "{\"format\": \"gguf\", \"type\": \"Q4_K_M\", \"options\": {}, \"quant_type\": \"Q4_K_M\"}"
#define GPTQ(options, text)                                                                                            \
    "{\"format\": \"safetensors\", \"type\": \"gptq\", \"options\": {" options "}, \"quant_type\": \"gptq" text "\"}"
    static const char *const cases[][2] = {
        {"{}", "[" Q4 "]"},
        {"{'output_formats': ['GGUF'], 'gguf_quant_types': ['q4_k_m']}", "[" Q4 "]"},
        {"{'outputs': [{'type': 'q4_k_m'}]}", "[" Q4 "]"},
        {"{'outputs': [{'type': 'Q4_K_M', 'format': 'gguf', 'options': {}}]}", "[" Q4 "]"},
        {"{'outputs': [{'type': 'GPTQ', 'format': 'SafeTensors'}, {'type': 'Q4_K_M'}]}", "[" GPTQ("", "") ", " Q4 "]"},
        {"{'output_formats': ['gguf', 'gptq']}", "[" Q4 ", " GPTQ("", "") "]"},
        {"{'output_formats': ['gptq'], 'gptq_bits': 4}", "[" GPTQ("", "") "]"},
        {"{'output_formats': ['gptq'], 'gptq_bits': 3, 'config': {'group_size': 64}}",
         "[" GPTQ("\"bits\": 3, \"group\": 64", ":bits=3,group=64") "]"},
        {"{'outputs': [{'type': 'gptq', 'options': {'group': '64', 'bits': 3.0}}]}",
         "[" GPTQ("\"bits\": 3, \"group\": 64", ":bits=3,group=64") "]"},
        {"{'outputs': [{'type': 'gptq:group=64,bits=3'}]}",
         "[" GPTQ("\"bits\": 3, \"group\": 64", ":bits=3,group=64") "]"},
        {"{'outputs': [{'type': 'gptq:bits=3', 'options': {'group': 64}}]}",
         "[" GPTQ("\"bits\": 3, \"group\": 64", ":bits=3,group=64") "]"},
        {"{'outputs': [{'type': 'gptq', 'options': {'sym': false, 'version': 'V2', 'group': 128}}]}",
         "[" GPTQ("\"sym\": \"off\", \"version\": \"v2\"", ":sym=off,version=v2") "]"},
        {"{'outputs': [{'type': 'bf16', 'format': 'safetensors'}]}",
         "[{\"format\": \"safetensors\", \"type\": \"BF16\", \"options\": {}, \"quant_type\": \"safetensors/BF16\"}]"},
        {"{'outputs': [{'type': 'GGUF/Q4_K_M'}, {'type': 'safetensors/gptq'}]}", "[" Q4 ", " GPTQ("", "") "]"},
        {"{'outputs': [{'type': 'nf4', 'format': 'PyTorch'}, {'type': 'pytorch/BF16'}, {'type': 'gptq'}]}",
         "[{\"format\": \"pytorch\", \"type\": \"nf4\", \"options\": {}, \"quant_type\": \"pytorch/nf4\"}, "
         "{\"format\": \"pytorch\", \"type\": \"BF16\", \"options\": {}, \"quant_type\": \"pytorch/BF16\"}, " GPTQ(
             "", "") "]"},
        {"{'outputs': [{'type': 'gptq'}, {'type': 'gptq:bits=8'}]}",
         "[" GPTQ("", "") ", " GPTQ("\"bits\": 8", ":bits=8") "]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct faults faults = {0};
        bool known;
        char body[400];
        snprintf(body, sizeof body, "%s", cases[i][0]);
        for (char *c = body; *c; c++)
            if (*c == '\'') *c = '"';
        json_t *asked = json_loads(body, 0, NULL), *wanted = json_loads(cases[i][1], 0, NULL);
        json_t *outputs = outputs_read(asked, true, &faults, &known);
        if (faults.list || !json_equal(outputs, wanted))
            fail_msg("%s gives %s, faults %s", cases[i][0], json_dumps(outputs, 0), json_dumps(faults.list, 0));
        json_decref(outputs);
        json_decref(wanted);
        json_decref(asked);
    }
}

static void test_hidden_paths(void **state)
{
    char folder[] = "/tmp/halftone-roots-XXXXXX", why[100], text[300], shown[300];
    struct roots *roots;
    assert_non_null(mkdtemp(folder));
    char *items[] = {folder};
    const struct settings_list list = {items, 1};
    assert_true(roots_open(&list, &roots, why, sizeof why));
    api_hide_paths(roots, "/var/lib/halftone/jobs/1/x.gguf: cannot be read (/etc/passwd) \"/a/b c\" 1/2 and/or", shown,
                   sizeof shown);
    assert_string_equal(shown, "x.gguf: cannot be read (passwd) \"b c\" 1/2 and/or");
    snprintf(text, sizeof text, "%s/a.gguf and %sx/b.gguf", folder, folder);
    api_hide_paths(roots, text, shown, sizeof shown);
    snprintf(text, sizeof text, "%s/a.gguf and b.gguf", folder);
    assert_string_equal(shown, text);
    api_hide_paths(roots, "0123456789", shown, 5);
    assert_string_equal(shown, "0123");
    roots_close(&roots);
    rmdir(folder);
}

static void test_sizes(void **state)
{
    assert_int_equal(settings_size("4G"), 4000000000LL);
    assert_int_equal(settings_size("1.5Gi"), 1610612736LL);
    assert_int_equal(settings_size("300MB"), 300000000LL);
    assert_int_equal(settings_size("7"), 7);
    assert_int_equal(settings_size("0"), 0);
    static const char *const wrong[] = {"", "G", "-1", "1X", "1GG", "1e99", "4 G", "nan", "inf", "1G1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (settings_size(wrong[i]) != -1) fail_msg("%s", wrong[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),   cmocka_unit_test(test_allowed_hosts), cmocka_unit_test(test_sites),
        cmocka_unit_test(test_rates),   cmocka_unit_test(test_cards),         cmocka_unit_test(test_commands),
        cmocka_unit_test(test_outputs), cmocka_unit_test(test_hidden_paths),  cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
