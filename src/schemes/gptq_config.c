/*
 * GPTQ's configuration. Programs disagree about how modules that are not quantized are named, so all ways are written:
 *   dynamic                        GPTQModel, vLLM: "-:REGEX" leaves modules out, "+:REGEX" gives them other settings
 *   modules_in_block_to_quantize   transformers with optimum: what is quantized, by the ends of names
 * vLLM looks for the name of the matrix that it makes of q, k and v (gate and up), so these are named too.
 */
#include "schemes/gptq.h"

#include "base/json_write.h"
#include "schemes/modules.h"

#include <stdio.h>
#include <string.h>

static bool quantized(const struct ht__scheme_module *module)
{
    return module->params && module->params->scheme == &ht__scheme_gptq;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

static void write_numbers(const struct ht__scheme_params *p, struct ht__jw *w)
{
    ht__jw_int(w, "bits", (int64_t)p->option[HT__GPTQ_BITS]);
    ht__jw_int(w, "group_size", (int64_t)p->option[HT__GPTQ_GROUP]);
    ht__jw_bool(w, "sym", p->option[HT__GPTQ_SYM] != 0);
    ht__jw_bool(w, "desc_act", p->option[HT__GPTQ_ACT_ORDER] != 0);
}

/* ---- dynamic ---- */

static void write_rule(const struct ht__scheme_params *params, const char *name, size_t len, const char *end,
                       struct ht__jw *w)
{
    struct ht__buf pattern;
    ht__buf_init(&pattern, w->out->alloc);
    ht__buf_str(&pattern, params ? "+:^" : "-:^");
    for (size_t i = 0; i < len; i++)
        ht__buf_printf(&pattern, name[i] == '.' ? "\\%c" : "%c", name[i]);
    ht__buf_printf(&pattern, "%s$", end);
    ht__jw_object(w, ht__buf_text(&pattern)); /* without a name, where memory is out, the writer fails */
    if (params) write_numbers(params, w);
    ht__jw_end(w);
    ht__buf_close(&pattern);
}

static void write_rules(const struct ht__scheme_params *params, const char *name, struct ht__jw *w)
{
    static const char *const fused[][2] = {{"q_proj", "qkv_proj"}, {"gate_proj", "gate_up_proj"}};
    write_rule(params, name, strlen(name), "", w);
    for (size_t i = 0; i < sizeof fused / sizeof fused[0]; i++)
        if (ends_with(name, fused[i][0])) write_rule(params, name, strlen(name) - strlen(fused[i][0]), fused[i][1], w);
}

static bool differs(const struct ht__scheme_package *package, const struct ht__scheme_module *module)
{
    if (!quantized(module)) return strcmp(module->name, "lm_head") != 0; /* that has a setting of its own */
    return !ht__scheme_same(module->params, package->params);
}

static void write_dynamic(const struct ht__scheme_package *package, struct ht__jw *w)
{
    bool any = false;
    for (size_t i = 0; i < package->n_modules; i++)
        any = any || differs(package, &package->modules[i]);
    if (!any) return;
    ht__jw_object(w, "dynamic");
    for (size_t i = 0; i < package->n_modules; i++) {
        const struct ht__scheme_module *module = &package->modules[i];
        if (differs(package, module)) write_rules(quantized(module) ? module->params : NULL, module->name, w);
    }
    ht__jw_end(w);
}

/* ---- modules_in_block_to_quantize ---- */

static bool in_block(const struct ht__scheme_module *module)
{
    return ht__module_place(module->name).block >= 0;
}

/* Whether names within a block tell what is quantized: no module that is left out ends with one of them. */
static bool alike_in_blocks(const struct ht__scheme_package *package)
{
    for (size_t i = 0; i < package->n_modules; i++)
        for (size_t k = 0; k < package->n_modules && !quantized(&package->modules[i]); k++) {
            const struct ht__scheme_module *other = &package->modules[k];
            if (quantized(other) && in_block(other) &&
                ends_with(package->modules[i].name, ht__module_place(other->name).local))
                return false;
        }
    return true;
}

/* Whether the same name stands in the block before or in this one already. */
static bool named_before(const struct ht__scheme_package *package, size_t i)
{
    struct ht__module_place place = ht__module_place(package->modules[i].name);
    for (size_t k = i; k-- > 0;) {
        struct ht__module_place other = ht__module_place(package->modules[k].name);
        if (other.block < place.block - 1) return false;
        if (quantized(&package->modules[k]) && strcmp(other.local, place.local) == 0) return true;
    }
    return false;
}

static void write_in_block(const struct ht__scheme_package *package, struct ht__jw *w)
{
    bool any = false;
    for (size_t i = 0; i < package->n_modules; i++)
        any = any || (in_block(&package->modules[i]) && !quantized(&package->modules[i]));
    if (!any) return;
    bool local = alike_in_blocks(package);
    ht__jw_array(w, "modules_in_block_to_quantize");
    ht__jw_array(w, NULL);
    for (size_t i = 0; i < package->n_modules; i++) {
        const struct ht__scheme_module *module = &package->modules[i];
        if (!quantized(module) || !in_block(module) || (local && named_before(package, i))) continue;
        ht__jw_str(w, NULL, local ? ht__module_place(module->name).local : module->name);
    }
    ht__jw_end(w);
    ht__jw_end(w);
}

static bool has_output(const struct ht__scheme_package *package)
{
    for (size_t i = 0; i < package->n_modules; i++)
        if (strcmp(package->modules[i].name, "lm_head") == 0) return quantized(&package->modules[i]);
    return false;
}

void ht__gptq_config(const struct ht__scheme_package *package, struct ht__jw *w)
{
    const char *format = package->params->option[HT__GPTQ_VERSION] == HT__GPTQ_V1 ? "gptq" : "gptq_v2";
    ht__jw_str(w, "quant_method", "gptq");
    write_numbers(package->params, w);
    ht__jw_bool(w, "lm_head", has_output(package));
    ht__jw_str(w, "checkpoint_format", format);
    ht__jw_str(w, "format", format);
    ht__jw_str(w, "pack_dtype", "int32");
    write_dynamic(package, w);
    write_in_block(package, w);
    ht__jw_object(w, "meta");
    ht__jw_array(w, "quantizer");
    ht__jw_str(w, NULL, "halftone:" HT_VERSION);
    ht__jw_end(w);
    ht__jw_end(w);
}
