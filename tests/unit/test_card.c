/* What a model card and the names around a model say of it: names, origins, lists, and what is no card. */
#include "lib/converted.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct converted it;

static void card(const char *text)
{
    converted_load(&it, "llama-gqa");
    folder_puts(&it.folder, "README.md", text);
    converted_must(&it);
}

static void has_not(const char *key)
{
    if (ht__kv_get(&it.opened->kvs, key)) fail_msg("%s is there", key);
}

static void is(const char *key, const char *want)
{
    converted_is_text(&it, key, want);
}

static void origins(void **state)
{
    (void)state;
    card("---\n"
         "base_model:\n- meta-llama/Llama-2-7b-hf\n- https://huggingface.co/acme/Tiny-1B\n- https://example.org/x/y/z\n"
         "- name: By hand\n  version: v3\n  repo_url: https://example.org/hand\n  other: left out\n- plain\n- 7\n"
         "datasets: acme/words\n---\n");
    converted_is_number(&it, "general.base_model.count", 6);
    is("general.base_model.0.name", "Llama 2 7b Hf");
    is("general.base_model.0.organization", "Meta Llama");
    is("general.base_model.0.repo_url", "https://huggingface.co/meta-llama/Llama-2-7b-hf");
    is("general.base_model.1.organization", "Acme");
    is("general.base_model.1.repo_url", "https://huggingface.co/acme/Tiny-1B");
    is("general.base_model.2.repo_url", "https://example.org/x/y/z");
    has_not("general.base_model.2.name");
    is("general.base_model.3.name", "By hand");
    is("general.base_model.3.version", "v3");
    is("general.base_model.3.repo_url", "https://example.org/hand");
    is("general.base_model.4.name", "Plain");
    has_not("general.base_model.4.repo_url");
    is("general.base_model.5.name", "7"); /* numbers are texts here */
    converted_is_number(&it, "general.dataset.count", 1);
    is("general.dataset.0.name", "Words");
    is("general.dataset.0.organization", "Acme");
    converted_close(&it);
}

static void too_many_origins(void **state)
{
    (void)state;
    static char text[40000] = "---\nbase_model:\n";
    for (int i = 0; i < 1030; i++)
        strcat(text, "- a/b\n");
    card(strcat(text, "---\n"));
    converted_is_number(&it, "general.base_model.count", 1024);
    is("general.base_model.1023.name", "B");
    has_not("general.base_model.1024.name");
    assert_non_null(strstr(it.log, "README.md names 1030 under base_model: the first 1024 are kept"));
    converted_close(&it);
}

static void lists(void **state)
{
    (void)state;
    card(
        "---\nlicense: [mit, 5, apache-2.0]\nlicense_name: 5\nauthor: [a, b]\ntags: [one, 2, two]\npipeline_tag: text\n"
        "language:\n\t- en\n\t- no\n---\n");
    is("general.license", "mit,5,apache-2.0"); /* the one value that may be a list */
    is("general.license.name", "5");
    has_not("general.author");
    const struct ht__kv *tags = converted_key(&it, "general.tags"),
                        *languages = ht__kv_get(&it.opened->kvs, "general.languages");
    assert_int_equal(tags->n, 4);
    assert_memory_equal(tags->strs[3].text, "text", 4);
    assert_non_null(languages);
    converted_close(&it);
    card("---\nlicense: {mit: yes}\nlanguages: no\nlanguage:\n- no\n- en\ntags: {a: b}\nbase_model: {a: b}\n---\n");
    has_not("general.license");
    has_not("general.tags");
    converted_is_number(&it, "general.base_model.count", 0);
    languages = converted_key(&it, "general.languages");
    assert_memory_equal(languages->strs[languages->n - 2].text, "no", 2); /* Norwegian, not false */
    converted_close(&it);
}

/* No front matter, one without an end, other line ends, and what YAML does not take. */
static void front_matter(void **state)
{
    static const struct {
        const char *text, *license;
        bool warns;
    } cases[] = {{"", NULL, false},
                 {"# A model\n---\nlicense: mit\n---\n", NULL, false},
                 {"--- \nlicense: mit\n---\n", NULL, false},
                 {"---", NULL, false},
                 {"---\n", NULL, false},
                 {"---\n---\nlicense: mit\n", NULL, false},
                 {"---\nlicense: mit", "mit", false},
                 {"---\r\nlicense: mit\r\n---\r\nlicense: other\r\n", "mit", false},
                 {"---\rlicense: mit\r---\r", "mit", false},
                 {"---\n- license\n- mit\n---\n", NULL, false},
                 {"---\nlicense: null\nmodel_name: ~\n---\n", NULL, false},
                 {"---\nlicense: \"mit\n---\n", NULL, true},
                 {"---\nlicense: mit\n  - x: [\n---\n", NULL, true},
                 {"---\nlicense: \xff\xfe\n---\n", NULL, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        card(cases[i].text);
        if (cases[i].license)
            is("general.license", cases[i].license);
        else
            has_not("general.license");
        if ((strstr(it.log, "README.md is left out of the metadata: ") != NULL) != cases[i].warns)
            fail_msg("case %zu: \"%s\"", i, it.log);
        converted_close(&it);
    }
}

/* Optional files that cannot be read are no reason to go on without them. */
static void unreadable(void **state)
{
    char path[600];
    (void)state;
    card("");
    converted_close(&it);
    snprintf(path, sizeof path, "%s/README.md", it.folder.path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_not_equal(converted_try(&it), HT_OK);
    assert_non_null(strstr(it.diag.where, "README.md"));
    converted_close(&it);
    assert_int_equal(rmdir(path), 0);
}

static void sampling(void **state)
{
    (void)state;
    folder_puts(&it.folder, "generation_config.json",
                "{\"top_k\": 40, \"top_p\": \"high\", \"min_p\": 0.5, \"mirostat\": 99999999999, \"temperature\": null,"
                " \"sequence\": \"kpt\", \"penalty_last_n\": 1.5, \"xtc_threshold\": 1e999}");
    card("");
    converted_is_number(&it, "general.sampling.top_k", 40);
    converted_is_number(&it, "general.sampling.min_p", 0.5);
    is("general.sampling.sequence", "kpt");
    has_not("general.sampling.top_p");
    has_not("general.sampling.mirostat");
    has_not("general.sampling.temp");
    has_not("general.sampling.penalty_last_n");
    has_not("general.sampling.xtc_threshold");
    converted_close(&it);
    folder_puts(&it.folder, "generation_config.json", "{\"top_k\": ");
    card("");
    has_not("general.sampling.top_k");
    assert_non_null(strstr(it.log, "generation_config.json is left out of the metadata: "));
    converted_close(&it);
    folder_puts(&it.folder, "generation_config.json", "{}");
}

/* The folder's name, that of a hub's cache, and what the configuration says. */
static void names(void **state)
{
    struct folder plain = it.folder;
    char made[3][500];
    (void)state;
    snprintf(made[0], sizeof made[0], "%.200s/models--acme--Tiny-Words-2B", plain.path);
    snprintf(made[1], sizeof made[1], "%.300s/snapshots", made[0]);
    snprintf(made[2], sizeof made[2], "%.400s/0123abcd", made[1]);
    for (int i = 0; i < 3; i++)
        assert_int_equal(mkdir(made[i], 0700), 0);
    snprintf(it.folder.path, sizeof it.folder.path, "%.250s", made[2]);
    card("");
    is("general.name", "Tiny Words 2B");
    is("general.organization", "Acme");
    converted_close(&it);
    card("---\nmodel_name: Mine\n---\n");
    is("general.name", "Mine");
    converted_close(&it);
    converted_load(&it, "llama-gqa");
    folder_puts(&it.folder, "README.md", "");
    converted_change(&it, "{", "{\"_name_or_path\": \"lab/Other-3B\", ");
    converted_must(&it);
    is("general.name", "Other 3B"); /* before the folder's */
    is("general.organization", "Lab");
    converted_close(&it);
    converted_load(&it, "llama-gqa");
    converted_change(&it, "{", "{\"_name_or_path\": \"/home/me/Other-3B\", ");
    converted_must(&it);
    is("general.name", "Tiny Words 2B"); /* a path of somebody's disk is no name */
    converted_close(&it);
    folder_remove(&it.folder);
    assert_int_equal(rmdir(made[1]), 0);
    assert_int_equal(rmdir(made[0]), 0);
    it.folder = plain;
}

static int setup(void **state)
{
    (void)state;
    it.folder = folder_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(&it.folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins),      cmocka_unit_test(too_many_origins), cmocka_unit_test(lists),
        cmocka_unit_test(front_matter), cmocka_unit_test(unreadable),       cmocka_unit_test(sampling),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
