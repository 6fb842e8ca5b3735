/* Floats of 8 and 4 bits: against PyTorch on every bfloat16 number, and their properties on every float's neighbourhood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "kernels/codec.h"
#include "kernels/small_float.h"

#include <math.h>

enum { N = 65536 };
static uint8_t codes[N];

static void check_hash(const char *expected)
{
    struct ht__sha256 sha;
    char hex[65];
    ht__sha256_begin(&sha);
    ht__sha256_add(&sha, codes, N);
    ht__sha256_end(&sha, hex);
    assert_string_equal(hex, expected);
}

/* x.clamp(-448, 448).to(torch.float8_e4m3fn) of x = every bfloat16, by PyTorch 2.13. */
static void test_e4m3_as_torch(void **state)
{
    for (int i = 0; i < N; i++)
        codes[i] = ht__f32_to_e4m3(ht__bf16_to_f32((uint16_t)i));
    check_hash("556222ae80c3498b4da64795f283e77962f1045e2525faaededd4e0a5b1ae212");
}

/* compressed_tensors' cast_to_fp4 and pack_fp4_to_uint8 of x clamped to 6, 0 for what is not a number. */
static void test_e2m1_as_compressed_tensors(void **state)
{
    for (int i = 0; i < N; i++) {
        float x = ht__bf16_to_f32((uint16_t)i);
        codes[i] = ht__f32_to_e2m1(isnan(x) ? 0 : x);
    }
    check_hash("342664dd0319ea86a87bf055d7033f1e133445b096596d01a3b5d77435a0e0d2");
}

typedef uint8_t to_code(float x);
typedef float to_float(uint8_t code);

/* Between two neighbours: the nearer one, in the middle the even one; checked a float's step around the middle. */
static void check_rounding(to_code *encode, to_float *decode, uint8_t largest, uint8_t sign)
{
    for (uint8_t c = 0; c < largest; c++) {
        float low = decode(c), high = decode((uint8_t)(c + 1)), middle = (low + high) / 2;
        assert_true(low < high);
        assert_int_equal(encode(low), c);
        assert_int_equal(encode(nextafterf(middle, 0)), c);
        assert_int_equal(encode(middle), c % 2 ? c + 1 : c);
        assert_int_equal(encode(nextafterf(middle, high)), c + 1);
        assert_int_equal(encode(-nextafterf(middle, high)), (c + 1) | sign);
        assert_true(decode((uint8_t)(c | sign)) == -low);
    }
    assert_int_equal(encode(decode(largest)), largest);
    assert_int_equal(encode(1e30f), largest);
    assert_int_equal(encode(-INFINITY), largest | sign);
    assert_int_equal(encode(0x1p-149f), 0);
    assert_int_equal(encode(-0x1p-149f), sign);
}

static void test_rounding(void **state)
{
    check_rounding(ht__f32_to_e4m3, ht__e4m3_to_f32, 0x7e, 0x80);
    check_rounding(ht__f32_to_e2m1, ht__e2m1_to_f32, 7, 8);
    assert_true(ht__e4m3_to_f32(0x7e) == 448);
    assert_true(ht__e4m3_to_f32(1) == 0x1p-9f);
    assert_true(ht__e2m1_to_f32(7) == 6);
    assert_int_equal(ht__f32_to_e4m3(-0.0f), 0x80);
    assert_int_equal(ht__f32_to_e2m1(-0.0f), 0);
    assert_int_equal(ht__f32_to_e4m3(NAN) & 0x7f, 0x7f);
    assert_true(isnan(ht__e4m3_to_f32(0x7f)) && isnan(ht__e4m3_to_f32(0xff)));
}

static void test_powers(void **state)
{
    for (int e = 0; e < 255; e++)
        assert_true(ht__e8m0_to_f32((uint8_t)e) == ldexpf(1, e - 127));
    assert_true(isnan(ht__e8m0_to_f32(255)));
}

/* Rounding to 16 bits and back, as the conversions do: halves, bfloat16s, and what lies between. */
static void test_round_16(void **state)
{
    for (uint64_t b = 0; b < 1ull << 32; b += 1021) {
        float x = ht__f32_from_bits((uint32_t)b);
        if (!isfinite(x)) continue;
        float h = ht__f16_to_f32(ht__f32_to_f16(x)), r = ht__round_f16(x);
        assert_int_equal(ht__f32_bits(h), ht__f32_bits(r));
        h = ht__bf16_to_f32(ht__f32_to_bf16(x));
        assert_int_equal(ht__f32_bits(h), ht__f32_bits(ht__round_bf16(x)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e4m3_as_torch), cmocka_unit_test(test_e2m1_as_compressed_tensors),
        cmocka_unit_test(test_rounding),      cmocka_unit_test(test_powers),
        cmocka_unit_test(test_round_16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
