/* The configuration of the compressed-tensors family: see compressed_tensors.h. */
#include "schemes/compressed_tensors.h"

#include <stdio.h>
#include <string.h>

enum { MAX_GROUPS = 64 };

/* Groups of modules with the same parameters; each further one has a group of its own. */
struct groups {
    const struct ht__scheme_params *first[MAX_GROUPS];
    int n;
};

static struct ht__ct_group describe(const struct ht__scheme_params *params)
{
    const struct ht__ct_scheme *scheme = params->scheme->family_data;
    struct ht__ct_group group = {.format = NULL};
    scheme->describe(params, &group);
    return group;
}

bool ht__ct_holds(const struct ht__scheme_params *params)
{
    return params && params->scheme->config == ht__ct_config && describe(params).format;
}

const char *ht__ct_apart(const struct ht__scheme_params *params, const struct ht__scheme_params *other)
{
    if (!ht__ct_holds(params)) return "its configuration describes one kind, and which modules are left out";
    return ht__ct_holds(other)
               ? NULL
               : "compressed-tensors holds w4a16, w8a16, w8a8, fp8, nvfp4 and mxfp4, and fp8-block and mxfp8 with config=compressed-tensors";
}

/* The group's number, MAX_GROUPS where there is no room for it. */
static int find(struct groups *groups, const struct ht__scheme_params *params)
{
    for (int i = 0; i < groups->n; i++)
        if (ht__scheme_same(groups->first[i], params)) return i;
    if (groups->n == MAX_GROUPS) return MAX_GROUPS;
    groups->first[groups->n] = params;
    return groups->n++;
}

void ht__ct_args(struct ht__jw *w, const char *key, const struct ht__ct_args *args)
{
    if (!args->num_bits) {
        ht__jw_null(w, key);
        return;
    }
    ht__jw_object(w, key);
    ht__jw_int(w, "num_bits", args->num_bits);
    ht__jw_str(w, "type", args->type);
    ht__jw_bool(w, "symmetric", !args->asymmetric);
    ht__jw_str(w, "strategy", args->strategy);
    if (args->group_size) ht__jw_int(w, "group_size", args->group_size);
    if (args->block[0]) {
        ht__jw_array(w, "block_structure");
        ht__jw_int(w, NULL, args->block[0]);
        ht__jw_int(w, NULL, args->block[1]);
        ht__jw_end(w);
    }
    ht__jw_raw(w, "dynamic", args->dynamic, strlen(args->dynamic));
    if (args->scale_dtype) ht__jw_str(w, "scale_dtype", args->scale_dtype);
    ht__jw_end(w);
}

struct writer {
    const struct ht__scheme_package *package;
    struct ht__jw *w;
    bool mixed; /* groups of several formats: each names its own */
    int n_groups;
};

static void write_group(struct writer *writer, const struct ht__scheme_params *params, size_t from, bool alone)
{
    const struct ht__scheme_package *package = writer->package;
    struct ht__jw *w = writer->w;
    struct ht__ct_group group = describe(params);
    char key[32];
    snprintf(key, sizeof key, "group_%d", writer->n_groups++);
    ht__jw_object(w, key);
    ht__jw_array(w, "targets");
    if (ht__scheme_same(params, package->params)) ht__jw_str(w, NULL, "Linear");
    for (size_t i = from; i < package->n_modules && !ht__scheme_same(params, package->params); i++) {
        if (i > from && alone) break;
        const struct ht__scheme_module *module = &package->modules[i];
        if (ht__ct_holds(module->params) && ht__scheme_same(module->params, params)) ht__jw_str(w, NULL, module->name);
    }
    ht__jw_end(w);
    ht__ct_args(w, "weights", &group.weights);
    ht__ct_args(w, "input_activations", &group.inputs);
    ht__jw_null(w, "output_activations");
    if (writer->mixed) ht__jw_str(w, "format", group.format);
    ht__jw_end(w);
}

static void write_groups(struct writer *writer)
{
    const struct ht__scheme_package *package = writer->package;
    struct groups groups = {.n = 0};
    ht__jw_object(writer->w, "config_groups");
    for (size_t i = 0; i < package->n_modules; i++) {
        const struct ht__scheme_params *params = package->modules[i].params;
        int before = groups.n, at;
        if (!ht__ct_holds(params)) continue;
        at = find(&groups, params);
        if (at == MAX_GROUPS || at == before) write_group(writer, params, i, at == MAX_GROUPS);
    }
    ht__jw_end(writer->w);
}

void ht__ct_config(const struct ht__scheme_package *package, struct ht__jw *w)
{
    struct writer writer = {.package = package, .w = w};
    const struct ht__ct_scheme *scheme = package->params->scheme->family_data;
    const char *format = NULL;
    if (!ht__ct_holds(package->params) && scheme->other) {
        scheme->other(package, w);
        return;
    }
    for (size_t i = 0; i < package->n_modules; i++) {
        if (!ht__ct_holds(package->modules[i].params)) continue;
        const char *other = describe(package->modules[i].params).format;
        if (format && strcmp(format, other) != 0) writer.mixed = true;
        format = other;
    }
    ht__jw_str(w, "quant_method", "compressed-tensors");
    ht__jw_str(w, "format", writer.mixed ? "mixed-precision" : format ? format : "dense");
    ht__jw_str(w, "quantization_status", "compressed");
    write_groups(&writer);
    ht__jw_array(w, "ignore");
    for (size_t i = 0; i < package->n_modules; i++)
        if (!ht__ct_holds(package->modules[i].params)) ht__jw_str(w, NULL, package->modules[i].name);
    ht__jw_end(w);
}
