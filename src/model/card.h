/* The general.* keys that say where a model comes from: its card, its name, its settings for sampling. */
#ifndef HT_MODEL_CARD_H
#define HT_MODEL_CARD_H

#include "base/json.h"
#include "base/log.h"
#include "model/model.h"

struct ht__card_job {
    const char *dir;                /* of README.md and generation_config.json */
    const struct ht__jnode *config; /* config.json as it is */
    struct ht__model *model;        /* its weights are known; its metadata grows */
    struct ht__arena *tmp;
    const struct ht__log *log;
};

/*
 * Writes general.sampling.*, general.name, author, version, organization, finetune, basename, description,
 * size_label, license, source, base_model, dataset, tags and languages, as llama.cpp's converter does. First
 * the front matter of README.md is asked, then config.json's _name_or_path, then the folder's name (in a
 * hub's cache, the repository's). A card that cannot be read is left out with a warning.
 */
HT_MUST_CHECK enum ht_err ht__card_keys(const struct ht__card_job *job, struct ht_diag *diag);

#endif
