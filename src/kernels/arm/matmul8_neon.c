/* Products in eight bits with the dot-product instruction: four bytes by four at once, added to a sum. */
#include "kernels/arm/rows_neon.h"

#define LEVEL neon
#define ROWS8_OF(codec) NULL
#include "kernels/arm/matmul8_kinds.h"

#include <sys/auxv.h>

VEC void dots(const struct kind f, int n, const struct panel *p, int s, const int8_t *x, int64_t ldx, vi acc[][GROUPS])
{
    four_byte_dots(f, n, p, s, x, ldx, acc);
}

#include "kernels/x86/matmul8_tmpl.h"

/* Processors of the level may have products of matrices of bytes, too; the sums are the same. */
static bool multiplies_matrices(void)
{
    const unsigned long i8mm = 1ul << 13; /* HWCAP2_I8MM */
    return (getauxval(AT_HWCAP2) & i8mm) != 0;
}

ht__matmul8_fn *ht__matmul8_neon(const struct ht__codec *codec)
{
    return multiplies_matrices() ? ht__matmul8_i8mm(codec) : matmul8_of(codec);
}
