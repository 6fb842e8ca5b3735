/*
 * When to step down or up through the levels, by readings alone: no clock, no machine. A condition has to last before anything is
 * done, down and up have limits of their own, and after a step there is a pause: so that nothing swings.
 */
#ifndef HT_SERVICE_LEVELS_POLICY_H
#define HT_SERVICE_LEVELS_POLICY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum watch { WATCH_BOTH, WATCH_HOST, WATCH_GPU };

struct policy_settings {
    bool enabled, dry_run, make; /* make: levels that are not there are made */
    enum watch watch;
    double memory_high, memory_low;           /* shares of the memory that are used */
    double pressure_high, pressure_low;       /* percent of time in which something waited for memory */
    double temperature_high, temperature_low; /* °C */
    double load_high, load_low;               /* of cards: shares of time */
    double interval, hold, up_hold,
        pause; /* seconds: between readings; that a reason must last, for a step up; after a step */
};

/* From "adjust" of config.json. false: why names the member. */
bool policy_settings_read(const json_t *adjust, struct policy_settings *settings, char *why, size_t size);
json_t *policy_settings_json(const struct policy_settings *settings);

/* The worst of what is watched; a value that is not known has known = false. */
struct gauge {
    bool known;
    double value;
    char of[100]; /* "host", a card's name */
};
struct gauges {
    struct gauge memory, pressure, temperature, load;
    bool slowed; /* a card is slowed by heat */
};
void policy_gauges(const json_t *reading, enum watch watch, struct gauges *gauges);
json_t *policy_gauges_json(const struct gauges *gauges);

enum step { STEP_NONE, STEP_DOWN, STEP_UP };
struct policy {
    double high_since, low_since, paused_until; /* below 0: not */
};
void policy_init(struct policy *policy);
/* What to do at a reading's time; reason: why, or why nothing is done. */
enum step policy_judge(struct policy *policy, const struct policy_settings *settings, const struct gauges *gauges,
                       double time, char *reason, size_t size);
/* A step was taken (or was due and there was nothing to step): the pause begins. */
void policy_stepped(struct policy *policy, const struct policy_settings *settings, double time);

#endif
