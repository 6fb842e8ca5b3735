/* What the units that parse options share. */
#ifndef HT_JOB_SETTINGS_PARTS_H
#define HT_JOB_SETTINGS_PARTS_H

#include "job/settings.h"

struct parser {
    struct ht_job *job;
    const struct ht__options *o;
    struct ht__settings *s;
    struct ht_diag *diag;
    bool estimating;
};

/* --fit, --bpw and --gpu, with --budget-time; nothing where none is given. */
enum ht_err ht__settings_parse_budget(struct parser *p);
/* The target that a budget makes: one GGUF file, whose mix is found when the model is known. */
enum ht_err ht__settings_take_budget(struct parser *p);
/* Where types were given: one scheme of a folder. */
enum ht_err ht__settings_check_budget(struct parser *p);

#endif
