/* AutoRound's configuration for the layouts of GPTQ and AWQ: modules with other numbers, or none, are in extra_config. */
#include "base/json_write.h"
#include "schemes/auto_round.h"
#include "schemes/modules.h"

static void write_numbers(const struct ht__scheme_params *p, struct ht__jw *w)
{
    double bits = ht__scheme_get(p, "bits");
    ht__jw_int(w, "bits", bits > 0 ? (int64_t)bits : 4); /* AWQ's layout has no others */
    ht__jw_int(w, "group_size", (int64_t)ht__scheme_get(p, "group"));
    ht__jw_bool(w, "sym", ht__scheme_get(p, "sym") != 0);
}

static void write_module(const struct ht__scheme_package *package, const struct ht__scheme_module *module,
                         struct ht__jw *w)
{
    bool quantized = module->params && module->params->scheme == package->params->scheme;
    if (quantized && ht__scheme_same(module->params, package->params)) return;
    ht__jw_object(w, module->name);
    if (quantized)
        write_numbers(module->params, w);
    else
        ht__jw_int(w, "bits", 16);
    ht__jw_end(w);
}

static void write_block_name(const struct ht__scheme_package *package, struct ht__jw *w)
{
    for (size_t i = 0; i < package->n_modules; i++) {
        struct ht__module_place place = ht__module_place(package->modules[i].name);
        if (place.block < 0) continue;
        ht__jw_text(w, "block_name_to_quantize", package->modules[i].name, place.list_len);
        return;
    }
}

void ht__auto_round_config(const struct ht__scheme_package *package, const char *packing, struct ht__jw *w)
{
    ht__jw_str(w, "quant_method", "auto-round");
    ht__jw_str(w, "packing_format", packing);
    write_numbers(package->params, w);
    ht__jw_str(w, "data_type", "int");
    write_block_name(package, w);
    ht__jw_object(w, "extra_config");
    for (size_t i = 0; i < package->n_modules; i++)
        write_module(package, &package->modules[i], w);
    ht__jw_end(w);
}
