/* ModelOpt's configuration: see modelopt.h. */
#include "schemes/modelopt.h"

#include "schemes/modules.h"

static void write_producer(struct ht__jw *w)
{
    ht__jw_object(w, "producer");
    ht__jw_str(w, "name", "halftone");
    ht__jw_str(w, "version", HT_VERSION);
    ht__jw_end(w);
}

void ht__modelopt_config(const struct ht__scheme_package *package, const char *algorithm,
                         const struct ht__ct_group *group, struct ht__jw *w)
{
    ht__jw_str(w, "quant_method", "modelopt");
    ht__jw_str(w, "quant_algo", algorithm);
    ht__jw_object(w, "config_groups");
    ht__jw_object(w, "group_0");
    ht__ct_args(w, "weights", &group->weights);
    ht__ct_args(w, "input_activations", &group->inputs);
    ht__jw_array(w, "targets");
    ht__jw_str(w, NULL, "Linear");
    ht__jw_end(w);
    ht__jw_end(w);
    ht__jw_end(w);
    ht__modules_unlike(package, "ignore", w);
    write_producer(w);
}

void ht__modelopt_side(const struct ht__scheme_package *package, const char *algorithm,
                       const struct ht__ct_group *group, struct ht__jw *w)
{
    write_producer(w);
    ht__jw_object(w, "quantization");
    ht__jw_str(w, "quant_algo", algorithm);
    ht__jw_null(w, "kv_cache_quant_algo");
    if (group->weights.group_size)
        ht__jw_int(w, "group_size", group->weights.group_size);
    else
        ht__jw_null(w, "group_size");
    ht__modules_unlike(package, "exclude_modules", w);
    ht__jw_end(w);
}
