/*
 * options.def, which help, command line and recipe files are made from, and options.c, which says where each
 * value goes, agree: every listed option sets one field of its kind that no other sets, every field is set
 * by one, and nothing else can be set.
 */
#include "job/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* struct ht__options has texts first, lists next, flags last. */
enum {
    TEXTS = 0,
    LISTS = offsetof(struct ht__options, type),
    FLAGS = offsetof(struct ht__options, pure),
    END = sizeof(struct ht__options),
};

static size_t field_start(size_t offset)
{
    if (offset < LISTS) return offset / sizeof(char *) * sizeof(char *);
    if (offset < FLAGS) return LISTS + (offset - LISTS) / sizeof(struct ht__list) * sizeof(struct ht__list);
    return offset;
}

static enum ht_option_kind kind_of(size_t offset)
{
    return offset < LISTS ? HT_OPTION_TEXT : offset < FLAGS ? HT_OPTION_LIST : HT_OPTION_FLAG;
}

/* The one field that setting the option changes in a fresh job. */
static size_t field_of(const char *name, enum ht_option_kind kind)
{
    struct ht_job *job;
    struct ht_diag diag = {0};
    static const struct ht__options none;
    size_t field = END;
    assert_int_equal(ht_job_open(&job), HT_OK);
    if (ht_job_set(job, name, kind == HT_OPTION_FLAG ? NULL : "Q8_0", &diag) != HT_OK)
        fail_msg("%s is listed, but cannot be set: %s", name, diag.message);
    for (size_t i = 0; i < END; i++) {
        if (((const char *)&job->options)[i] == ((const char *)&none)[i]) continue;
        if (field != END && field != field_start(i)) fail_msg("%s sets more than one field", name);
        field = field_start(i);
    }
    if (field == END) fail_msg("%s sets nothing", name);
    ht_job_close(&job);
    return field;
}

static void each_has_its_field(void **state)
{
    (void)state;
    const char *owner[END] = {0};
    struct ht_option_info info;
    owner[offsetof(struct ht__options, convert)] = "the verb";
    owner[field_of("source", HT_OPTION_TEXT)] = "source"; /* an argument, not an option */
    owner[field_of("model", HT_OPTION_LIST)] = "model";   /* likewise */
    owner[offsetof(struct ht__options, notes)] = "what is told of a method";
    static const char *const of_recipes[] = {"tokenizer", "batch-size", "cleanup-temp", "verbose"};
    for (size_t i = 0; i < sizeof of_recipes / sizeof of_recipes[0]; i++)
        owner[field_of(of_recipes[i], HT_OPTION_TEXT)] = of_recipes[i];
    for (size_t i = 0; ht_option_at(i, &info); i++) {
        size_t field = field_of(info.name, info.kind);
        if (kind_of(field) != info.kind) fail_msg("%s is of another kind in options.c", info.name);
        if (owner[field] && strcmp(owner[field], info.name) != 0)
            fail_msg("%s and %s set the same field", info.name, owner[field]);
        owner[field] = info.name;
    }
    for (size_t i = 0; i < FLAGS; i = i < LISTS ? i + sizeof(char *) : i + sizeof(struct ht__list))
        if (!owner[i]) fail_msg("the field at byte %zu of struct ht__options has no option", i);
    size_t last = offsetof(struct ht__options, convert);
    for (size_t i = FLAGS; i <= last; i++)
        if (!owner[i]) fail_msg("flag %zu of struct ht__options has no option", i - FLAGS);
}

/* An option may have a line for each of several meanings, but a command only one of them. */
static bool shares_a_verb(const char *a, const char *b)
{
    for (const char *verb = a; *verb; verb += strspn(verb, " ")) {
        size_t n = strcspn(verb, " ");
        for (const char *p = b; *p; p += strspn(p, " ")) {
            size_t m = strcspn(p, " ");
            if (n == m && strncmp(verb, p, n) == 0) return true;
            p += m;
        }
        verb += n;
    }
    return false;
}

static void each_is_described(void **state)
{
    (void)state;
    struct ht_option_info info, other;
    for (size_t i = 0; ht_option_at(i, &info); i++) {
        assert_true(info.help[0] && info.verbs[0] && info.group[0]);
        assert_int_equal(info.metavar[0] == '\0', info.kind == HT_OPTION_FLAG);
        assert_true(strspn(info.name, "abcdefghijklmnopqrstuvwxyz-") == strlen(info.name));
        for (size_t j = 0; j < i && ht_option_at(j, &other); j++)
            if (strcmp(info.name, other.name) == 0 && shares_a_verb(info.verbs, other.verbs))
                fail_msg("%s is listed twice for a command", info.name);
    }
}

static void refused(const char *name, const char *value)
{
    struct ht_job *job;
    struct ht_diag diag;
    static const struct ht__options none;
    assert_int_equal(ht_job_open(&job), HT_OK);
    if (ht_job_set(job, name, value, &diag) != HT_ERR_USAGE)
        fail_msg("%s=%s is accepted", name, value ? value : "NULL");
    assert_true(diag.code == HT_ERR_USAGE && diag.message[0]);
    /* a list may hold what was sound before the fault: the job is not run */
    if (!strchr(value ? value : "", ',')) assert_memory_equal(&job->options, &none, sizeof none);
    ht_job_close(&job);
}

static void mistyped_names_are_told(void **state)
{
    (void)state;
    struct ht_job *job;
    struct ht_diag diag;
    assert_int_equal(ht_job_open(&job), HT_OK);
    assert_int_equal(ht_job_set(job, "calibraton", "default", &diag), HT_ERR_USAGE);
    assert_string_equal(diag.message, "no such option; did you mean calibration?");
    assert_int_equal(ht_job_set(job, "calibration_sample", "1", &diag), HT_ERR_USAGE);
    assert_string_equal(diag.message, "no such option; did you mean calibration_samples?");
    assert_int_equal(ht_job_set(job, "xyzzy", "default", &diag), HT_ERR_USAGE);
    assert_string_equal(diag.message, "no such option");
    ht_job_close(&job);
}

static void what_is_no_option(void **state)
{
    (void)state;
    struct ht_option_info info;
    refused("", "x");
    refused("no-such-option", "x");
    refused("tensor_type", "a=q8_0");
    refused("Type", "Q8_0");
    refused("convert", NULL);
    refused("type", "Q8_0,,Q4_0");
    refused("type", ",");
    for (size_t i = 0; ht_option_at(i, &info); i++) {
        refused(info.name, "");
        if (info.kind == HT_OPTION_FLAG)
            refused(info.name, "yes");
        else
            refused(info.name, NULL);
    }
}

static void values_and_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"0", 0},
                 {"300000", 300000},
                 {"1K", 1000},
                 {"300M", 300000000},
                 {"4G", 4000000000},
                 {"1.5Gi", 1610612736},
                 {"1.5GiB", 1610612736},
                 {"2kb", 2000},
                 {"1T", 1000000000000},
                 {"512B", 512}};
    static const char *const bad[] = {"",    "x",   "-1", "1X",  "1Mx", "1e30",
                                      "nan", "inf", " 1", "1 M", "9T9", "99999999T"};
    uint64_t v;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct ht_diag diag = {0};
        if (ht__parse_size("memory", sizes[i].text, &v, &diag) != HT_OK || v != sizes[i].bytes)
            fail_msg("\"%s\": %llu (%s)", sizes[i].text, (unsigned long long)v, diag.message);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (ht__parse_size("memory", bad[i], &v, NULL) != HT_ERR_USAGE) fail_msg("\"%s\" is a size", bad[i]);
    static const char *const no_counts[] = {"", "0", "1025", "-1", "+1", "1.0", "0x10", "99999999999999999999", "1 "};
    for (size_t i = 0; i < sizeof no_counts / sizeof no_counts[0]; i++)
        if (ht__parse_count("threads", no_counts[i], 1, 1024, &v, NULL) != HT_ERR_USAGE)
            fail_msg("\"%s\" is a count", no_counts[i]);
    assert_int_equal(ht__parse_count("threads", "1024", 1, 1024, &v, NULL), HT_OK);
    assert_int_equal(v, 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_its_field), cmocka_unit_test(each_is_described),
        cmocka_unit_test(what_is_no_option),  cmocka_unit_test(mistyped_names_are_told),
        cmocka_unit_test(values_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
