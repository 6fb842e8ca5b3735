/* When levels step down and up: readings with times in, steps out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "service/levels/policy.h"

#include <stdio.h>
#include <string.h>

static struct policy_settings settings_of(const char *text)
{
    struct policy_settings s;
    char why[300];
    json_t *adjust = json_loads(text, 0, NULL);
    assert_non_null(adjust);
    assert_true(policy_settings_read(adjust, &s, why, sizeof why));
    json_decref(adjust);
    return s;
}

static enum step judge(struct policy *p, const struct policy_settings *s, const char *reading, double time,
                       char *reason)
{
    struct gauges g;
    json_t *r = json_loads(reading, 0, NULL);
    assert_non_null(r);
    policy_gauges(r, s->watch, &g);
    json_decref(r);
    return policy_judge(p, s, &g, time, reason, 300);
}

#define MEMORY(total, left) "{\"host\": {\"memory_total_bytes\": " #total ", \"memory_available_bytes\": " #left "}}"

static void holds_before_it_steps(void **state)
{
    struct policy_settings s = settings_of("{\"hold_seconds\": 10, \"pause_seconds\": 60, \"up_hold_seconds\": 100}");
    struct policy p;
    char reason[300];
    (void)state;
    policy_init(&p);
    assert_int_equal(judge(&p, &s, MEMORY(100, 10), 0, reason), STEP_NONE);
    assert_non_null(strstr(reason, "memory in use of host is 0.9, above 0.8; that must last 10 s"));
    assert_int_equal(judge(&p, &s, MEMORY(100, 10), 9, reason), STEP_NONE);
    assert_int_equal(judge(&p, &s, MEMORY(100, 25), 9.5, reason), STEP_NONE); /* it was over in between: counted anew */
    assert_int_equal(judge(&p, &s, MEMORY(100, 10), 10, reason), STEP_NONE);
    assert_int_equal(judge(&p, &s, MEMORY(100, 10), 20, reason), STEP_DOWN);
    policy_stepped(&p, &s, 20);
    assert_int_equal(judge(&p, &s, MEMORY(100, 10), 35, reason), STEP_NONE);
    assert_int_equal(judge(&p, &s, MEMORY(100, 10), 50, reason), STEP_NONE);
    assert_non_null(strstr(reason, "the pause after the last step ends in 30 s"));
    assert_int_equal(judge(&p, &s, MEMORY(100, 10), 80, reason), STEP_DOWN);
}

/* Between the two limits nothing happens, however long. */
static void does_not_swing(void **state)
{
    struct policy_settings s = settings_of("{\"hold_seconds\": 0, \"pause_seconds\": 0, \"up_hold_seconds\": 0}");
    struct policy p;
    char reason[300];
    int steps = 0;
    (void)state;
    policy_init(&p);
    for (int i = 0; i < 1000; i++)
        steps += judge(&p, &s, i % 2 ? MEMORY(100, 25) : MEMORY(100, 35), i, reason) != STEP_NONE;
    assert_int_equal(steps, 0);
    assert_int_equal(judge(&p, &s, MEMORY(100, 45), 2000, reason), STEP_UP);
    assert_int_equal(judge(&p, &s, MEMORY(100, 15), 2001, reason), STEP_DOWN);
}

static void what_is_unknown_decides_nothing(void **state)
{
    struct policy_settings s = settings_of("{\"hold_seconds\": 0, \"up_hold_seconds\": 0}");
    struct policy p;
    char reason[300];
    (void)state;
    policy_init(&p);
    assert_int_equal(judge(&p, &s, "{}", 0, reason), STEP_NONE);
    assert_non_null(strstr(reason, "nothing is known"));
    assert_int_equal(judge(&p, &s, "{\"gpus\": [{\"name\": 5}], \"host\": []}", 1, reason), STEP_NONE);
    assert_int_equal(judge(&p, &s, "{\"host\": {\"temperature\": 90}}", 2, reason), STEP_DOWN);
    assert_int_equal(judge(&p, &s, "{\"host\": {\"temperature\": 60}}", 3, reason), STEP_UP);
    assert_int_equal(judge(&p, &s, "{\"host\": {\"load\": 50, \"pressure\": {\"cpu\": 99}}}", 4, reason),
                     STEP_NONE); /* a shared machine's processors are busy for ever */
}

static void cards_and_host(void **state)
{
    static const char both[] =
        "{\"gpus\": [{\"name\": \"A\", \"memory_used_bytes\": 9, \"memory_total_bytes\": 10, \"load\": 0.5, "
        "\"temperature\": 50, \"slowed\": false}], \"host\": {\"memory_total_bytes\": 10, "
        "\"memory_available_bytes\": 9, \"pressure\": {\"memory\": 0}}}";
    static const char hot[] = "{\"gpus\": [{\"name\": \"A\", \"slowed\": true}]}";
    struct policy_settings s = settings_of("{\"hold_seconds\": 0, \"up_hold_seconds\": 0}"),
                           host = settings_of("{\"hold_seconds\": 0, \"up_hold_seconds\": 0, \"watch\": \"host\"}");
    struct policy p;
    char reason[300];
    (void)state;
    policy_init(&p);
    assert_int_equal(judge(&p, &s, both, 0, reason), STEP_DOWN);
    assert_non_null(strstr(reason, "of A is 0.9"));
    assert_int_equal(judge(&p, &host, both, 1, reason), STEP_UP);
    assert_int_equal(judge(&p, &s, hot, 2, reason), STEP_DOWN);
    assert_int_equal(judge(&p, &host, hot, 3, reason), STEP_NONE);
    assert_int_equal(judge(&p, &s, "{\"gpus\": [{\"name\": \"A\", \"load\": 1}]}", 4, reason), STEP_DOWN);
    assert_int_equal(judge(&p, &s, "{\"host\": {\"pressure\": {\"memory\": 30}}}", 5, reason), STEP_DOWN);
}

static void wrong_settings(void **state)
{
    static const char *const texts[] = {"{\"memory_high\": 2}",
                                        "{\"memory_high\": \"0.8\"}",
                                        "{\"memory_low\": 0.9}",
                                        "{\"watch\": \"cpu\"}",
                                        "{\"watch\": 5}",
                                        "{\"enabled\": 1}",
                                        "{\"interval_seconds\": 0}",
                                        "{\"hold_seconds\": -1}",
                                        "{\"temperature_low\": 85}",
                                        "{\"pressure_high\": 1e300}",
                                        "{\"dry_run\": \"yes\"}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct policy_settings s;
        char why[300] = "";
        json_t *adjust = json_loads(texts[i], 0, NULL);
        assert_false(policy_settings_read(adjust, &s, why, sizeof why));
        assert_non_null(strstr(why, "ai.adjust."));
        json_decref(adjust);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(holds_before_it_steps), cmocka_unit_test(does_not_swing),
                                       cmocka_unit_test(what_is_unknown_decides_nothing),
                                       cmocka_unit_test(cards_and_host), cmocka_unit_test(wrong_settings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
