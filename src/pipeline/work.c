#include "pipeline/work.h"

/* Nanoseconds. A read weight is decoded, looked at and squared; an encoded one is decoded again and compared. */
#define READ_WEIGHT 0.8
#define READ_BYTE 0.2
#define CHECK_WEIGHT 0.8
#define WRITE_BYTE 0.5
#define SCHEME_WEIGHT 6.0
#define OTHER_WEIGHT 10.0

static double encoding(const struct ht__plan *plan, const struct ht__codec *type)
{
    static const struct {
        const struct ht__codec *type;
        double plain, best;
    } known[] = {
#define HT_WORK(id, plain, best) {&ht__codec_##id, plain, best},
#include "pipeline/work.def"
#undef HT_WORK
    };
    bool best = plan->settings->best && !plan->settings->importance.collect;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].type == type) return best && known[i].best > 0 ? known[i].best : known[i].plain;
    return OTHER_WEIGHT;
}

static const struct ht__choice *choice_of(const struct ht__plan *plan, size_t output, uint32_t item)
{
    bool held = ht__item_in(plan, &plan->outputs[output], item) != NULL;
    return held ? &plan->outputs[output].choices[item] : NULL;
}

static bool is_copied(const struct ht__rows *rows, const struct ht__choice *choice)
{
    return !choice->scheme && rows->read_raw && (choice->type == rows->raw_type || choice->type == rows->stored);
}

/* Outputs of one type are encoded once. */
static bool encoded_before(const struct ht__plan *plan, uint32_t item, size_t output)
{
    const struct ht__choice *mine = choice_of(plan, output, item), *other;
    for (size_t o = 0; o < output; o++)
        if ((other = choice_of(plan, o, item)) != NULL && !other->scheme && !mine->scheme && other->type == mine->type)
            return true;
    return false;
}

double ht__work_of(const struct ht__plan *plan, uint32_t item)
{
    const struct ht__rows *rows = plan->items[item].rows;
    double weight = 0, bits = 0;
    bool floats = false;
    for (size_t o = 0; o < plan->n_outputs; o++) {
        const struct ht__choice *choice = choice_of(plan, o, item);
        if (!choice) continue;
        bits += choice->scheme ? 4.5 : (double)choice->type->block_size * 8 / choice->type->block_len;
        if (is_copied(rows, choice)) continue;
        floats = true;
        if (encoded_before(plan, item, o)) continue;
        weight += CHECK_WEIGHT + (choice->scheme ? SCHEME_WEIGHT : encoding(plan, choice->type));
    }
    const struct ht__codec *source = ht__item_any(plan, item)->source;
    double source_bytes = source->block_len ? (double)source->block_size / source->block_len : 1;
    weight += source_bytes * READ_BYTE + bits / 8 * WRITE_BYTE + (floats ? READ_WEIGHT : 0);
    return weight * (double)rows->n_rows * (double)rows->row_len;
}
