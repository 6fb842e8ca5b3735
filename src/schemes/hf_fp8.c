/* The configuration of transformers' "fp8" and "mxfp8": see hf_fp8.h. */
#include "schemes/hf_fp8.h"

#include "schemes/modules.h"

void ht__hf_fp8_config(const struct ht__scheme_package *package, const char *method, int block_rows, int block_columns,
                       const char *scale_format, struct ht__jw *w)
{
    ht__jw_str(w, "quant_method", method);
    ht__jw_str(w, "activation_scheme", "dynamic");
    ht__jw_str(w, "fmt", "e4m3");
    ht__jw_array(w, "weight_block_size");
    ht__jw_int(w, NULL, block_rows);
    ht__jw_int(w, NULL, block_columns);
    ht__jw_end(w);
    if (scale_format) ht__jw_str(w, "scale_fmt", scale_format);
    ht__modules_unlike(package, "modules_to_not_convert", w); /* for transformers */
    ht__modules_unlike(package, "ignored_layers", w);         /* for vLLM */
}
