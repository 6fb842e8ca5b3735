/*
 * A text's chunks in groups. What is summed over a text is summed over each group, from zero, and then group is added to group in
 * their order: so what several machines have summed, each over some of the groups, gives to the last bit what one sums alone.
 */
#ifndef HT_CALIBRATE_GROUPS_H
#define HT_CALIBRATE_GROUPS_H

#include <stddef.h>

enum { HT__GROUPS = 16 };

static inline size_t ht__groups_of(size_t chunks)
{
    return chunks < HT__GROUPS ? chunks : HT__GROUPS;
}
/* Its first chunk; of the group behind the last: how many chunks there are. */
static inline size_t ht__group_begin(size_t chunks, size_t group)
{
    return chunks * group / ht__groups_of(chunks);
}
/* The first group of part 0 <= part < parts; of the part behind the last: how many groups there are. */
static inline size_t ht__groups_before(size_t groups, size_t part, size_t parts)
{
    return groups * part / parts;
}

#endif
