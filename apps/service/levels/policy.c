#include "service/levels/policy.h"

#include <stdio.h>
#include <string.h>

/* ---- settings ----------------------------------------------------------------------------------- */

static const struct number {
    const char *name;
    size_t offset;
    double preset, least, most;
} numbers[] = {
#define NUMBER(field, name, preset, least, most)                                                                       \
    {                                                                                                                  \
        name, offsetof(struct policy_settings, field), preset, least, most                                             \
    }
    NUMBER(memory_high, "memory_high", 0.8, 0, 1),
    NUMBER(memory_low, "memory_low", 0.6, 0, 1),
    NUMBER(pressure_high, "pressure_high", 10, 0, 100),
    NUMBER(pressure_low, "pressure_low", 1, 0, 100),
    NUMBER(temperature_high, "temperature_high", 85, 0, 200),
    NUMBER(temperature_low, "temperature_low", 75, 0, 200),
    NUMBER(load_high, "load_high", 0.98, 0, 1),
    NUMBER(load_low, "load_low", 0.7, 0, 1),
    NUMBER(interval, "interval_seconds", 5, 0.1, 3600),
    NUMBER(hold, "hold_seconds", 15, 0, 86400),
    NUMBER(up_hold, "up_hold_seconds", 300, 0, 86400),
    NUMBER(pause, "pause_seconds", 120, 0, 86400),
#undef NUMBER
};
enum { N_NUMBERS = sizeof numbers / sizeof *numbers };

static const char *const watches[] = {"both", "host", "gpu"};

static const struct flag {
    const char *name;
    size_t offset;
} flags[] = {{"enabled", offsetof(struct policy_settings, enabled)},
             {"dry_run", offsetof(struct policy_settings, dry_run)},
             {"make", offsetof(struct policy_settings, make)}};

static bool read_numbers(const json_t *adjust, struct policy_settings *s, char *why, size_t size)
{
    for (int i = 0; i < N_NUMBERS; i++) {
        const struct number *n = &numbers[i];
        const json_t *value = json_object_get(adjust, n->name);
        double *field = (double *)((char *)s + n->offset);
        *field = n->preset;
        if (!value || json_is_null(value)) continue;
        *field = json_number_value(value);
        if (json_is_number(value) && *field >= n->least && *field <= n->most) continue;
        snprintf(why, size, "ai.adjust.%s: expected a number from %g to %g", n->name, n->least, n->most);
        return false;
    }
    return true;
}

static bool read_words(const json_t *adjust, struct policy_settings *s, char *why, size_t size)
{
    const json_t *watch = json_object_get(adjust, "watch");
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        const json_t *value = json_object_get(adjust, flags[i].name);
        *(bool *)((char *)s + flags[i].offset) = json_is_true(value);
        if (!value || json_is_boolean(value) || json_is_null(value)) continue;
        snprintf(why, size, "ai.adjust.%s: expected true or false", flags[i].name);
        return false;
    }
    s->watch = WATCH_BOTH;
    if (!watch || json_is_null(watch)) return true;
    for (int i = 0; i < 3; i++)
        if (json_is_string(watch) && strcmp(json_string_value(watch), watches[i]) == 0)
            return s->watch = (enum watch)i, true;
    snprintf(why, size, "ai.adjust.watch: expected \"both\", \"host\" or \"gpu\"");
    return false;
}

bool policy_settings_read(const json_t *adjust, struct policy_settings *s, char *why, size_t size)
{
    static const char *const pairs[] = {"memory", "pressure", "temperature", "load"};
    *why = '\0';
    if (!read_numbers(adjust, s, why, size) || !read_words(adjust, s, why, size)) return false;
    const double ends[][2] = {{s->memory_low, s->memory_high},
                              {s->pressure_low, s->pressure_high},
                              {s->temperature_low, s->temperature_high},
                              {s->load_low, s->load_high}};
    for (int i = 0; i < 4; i++)
        if (ends[i][0] >= ends[i][1]) {
            snprintf(why, size, "ai.adjust.%s_low: expected less than %s_high, so that levels do not swing", pairs[i],
                     pairs[i]);
            return false;
        }
    return true;
}

json_t *policy_settings_json(const struct policy_settings *s)
{
    json_t *o = json_pack("{s:s}", "watch", watches[s->watch]);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        json_object_set_new(o, flags[i].name, json_boolean(*(const bool *)((const char *)s + flags[i].offset)));
    for (int i = 0; i < N_NUMBERS; i++)
        json_object_set_new(o, numbers[i].name, json_real(*(const double *)((const char *)s + numbers[i].offset)));
    return o;
}

/* ---- gauges ------------------------------------------------------------------------------------- */

static void worst(struct gauge *g, const json_t *value, const char *of)
{
    double n = json_number_value(value);
    if (!json_is_number(value) || (g->known && n <= g->value)) return;
    *g = (struct gauge){.known = true, .value = n};
    snprintf(g->of, sizeof g->of, "%s", of);
}

static void worst_share(struct gauge *g, double used, const json_t *total, const char *of)
{
    json_t *share = json_number_value(total) > 0 ? json_real(used / json_number_value(total)) : NULL;
    if (share) worst(g, share, of);
    json_decref(share);
}

static void take_card(struct gauges *g, const json_t *card)
{
    const char *name = json_string_value(json_object_get(card, "name"));
    const json_t *used = json_object_get(card, "memory_used_bytes");
    if (!name) name = "card";
    if (json_is_number(used))
        worst_share(&g->memory, json_number_value(used), json_object_get(card, "memory_total_bytes"), name);
    worst(&g->temperature, json_object_get(card, "temperature"), name);
    worst(&g->load, json_object_get(card, "load"), name);
    g->slowed |= json_is_true(json_object_get(card, "slowed"));
}

void policy_gauges(const json_t *reading, enum watch watch, struct gauges *g)
{
    const json_t *host = json_object_get(reading, "host"), *card,
                 *left = json_object_get(host, "memory_available_bytes"),
                 *total = json_object_get(host, "memory_total_bytes");
    size_t i;
    memset(g, 0, sizeof *g);
    if (watch != WATCH_GPU) {
        if (json_is_number(left))
            worst_share(&g->memory, json_number_value(total) - json_number_value(left), total, "host");
        worst(&g->pressure, json_object_get(json_object_get(host, "pressure"), "memory"), "host");
        worst(&g->temperature, json_object_get(host, "temperature"), "host");
    }
    if (watch == WATCH_HOST) return;
    json_array_foreach(json_object_get(reading, "gpus"), i, card)
        take_card(g, card);
}

static json_t *gauge_json(const struct gauge *g)
{
    return g->known ? json_pack("{s:f, s:s}", "value", g->value, "of", g->of) : json_null();
}

json_t *policy_gauges_json(const struct gauges *g)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:b}", "memory", gauge_json(&g->memory), "pressure",
                     gauge_json(&g->pressure), "temperature", gauge_json(&g->temperature), "load", gauge_json(&g->load),
                     "slowed", g->slowed);
}

/* ---- judgement ---------------------------------------------------------------------------------- */

void policy_init(struct policy *p)
{
    p->high_since = p->low_since = p->paused_until = -1;
}

void policy_stepped(struct policy *p, const struct policy_settings *s, double time)
{
    p->high_since = p->low_since = -1;
    p->paused_until = time + s->pause;
}

static bool above(const struct gauge *g, double limit, const char *what, char *reason, size_t size)
{
    if (!g->known || g->value <= limit) return false;
    snprintf(reason, size, "%s of %s is %.3g, above %.3g", what, g->of, g->value, limit);
    return true;
}

/* A reason to step down. */
static bool is_high(const struct policy_settings *s, const struct gauges *g, char *reason, size_t size)
{
    if (g->slowed) return snprintf(reason, size, "a card is slowed by its heat"), true;
    return above(&g->memory, s->memory_high, "memory in use", reason, size) ||
           above(&g->pressure, s->pressure_high, "pressure on the memory", reason, size) ||
           above(&g->temperature, s->temperature_high, "the temperature", reason, size) ||
           above(&g->load, s->load_high, "the load", reason, size);
}

/* Nothing speaks against a step up: all that is known is low, and something is known. */
static bool is_low(const struct policy_settings *s, const struct gauges *g, char *reason, size_t size)
{
    if (!g->memory.known && !g->pressure.known && !g->temperature.known && !g->load.known)
        return snprintf(reason, size, "nothing is known of memory, load and temperature"), false;
    return !above(&g->memory, s->memory_low, "memory in use", reason, size) &&
           !above(&g->pressure, s->pressure_low, "pressure on the memory", reason, size) &&
           !above(&g->temperature, s->temperature_low, "the temperature", reason, size) &&
           !above(&g->load, s->load_low, "the load", reason, size);
}

static enum step held_long(double *since, double time, double hold, enum step step, char *reason, size_t size)
{
    if (*since < 0) *since = time;
    size_t n = strlen(reason);
    if (time - *since >= hold) return step;
    snprintf(reason + n, size - n, "; that must last %.3g s, it has lasted %.3g", hold, time - *since);
    return STEP_NONE;
}

enum step policy_judge(struct policy *p, const struct policy_settings *s, const struct gauges *g, double time,
                       char *reason, size_t size)
{
    bool high = is_high(s, g, reason, size), low = !high && is_low(s, g, reason, size);
    if (!high) p->high_since = -1;
    if (!low) p->low_since = -1;
    if (!high && !low) return STEP_NONE;
    if (low) snprintf(reason, size, "memory, load and temperature are low");
    enum step due = high ? held_long(&p->high_since, time, s->hold, STEP_DOWN, reason, size)
                         : held_long(&p->low_since, time, s->up_hold, STEP_UP, reason, size);
    if (due == STEP_NONE || time >= p->paused_until) return due;
    size_t n = strlen(reason);
    snprintf(reason + n, size - n, "; the pause after the last step ends in %.3g s", p->paused_until - time);
    return STEP_NONE;
}
