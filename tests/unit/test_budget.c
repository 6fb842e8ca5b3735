/* What is chosen under a budget, against every choice that there is. */
#include "recipe/budget.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { GROUPS = 7, OPTIONS = 4, LARGE = 300 };

struct problem {
    struct ht__budget_option options[LARGE][12];
    struct ht__budget_group groups[LARGE];
    size_t n;
};

static uint64_t seed = 1;
static uint32_t draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

/* Small numbers, so that there are ties and sums that just fit. */
static void make_small(struct problem *p)
{
    p->n = 1 + draw() % GROUPS;
    for (size_t i = 0; i < p->n; i++) {
        p->groups[i] = (struct ht__budget_group){p->options[i], 1 + draw() % OPTIONS};
        for (size_t k = 0; k < p->groups[i].n; k++)
            p->options[i][k] = (struct ht__budget_option){1 + draw() % 20, (double)(draw() % 30)};
    }
}

static double brute(const struct problem *p, size_t at, uint64_t left)
{
    double best = INFINITY;
    if (at == p->n) return 0;
    for (size_t k = 0; k < p->groups[at].n; k++) {
        const struct ht__budget_option *o = &p->options[at][k];
        if (o->bytes > left) continue;
        double cost = o->cost + brute(p, at + 1, left - o->bytes);
        if (cost < best) best = cost;
    }
    return best;
}

/* Solves, and holds the answer against its own choice. */
static struct ht__budget_sum solve(const struct problem *p, uint64_t limit)
{
    static uint32_t chosen[LARGE];
    struct ht__budget_sum sum = {0, 0}, again = {0, 0};
    struct ht_diag diag = {0};
    double bound = 0;
    bool exact = false;
    assert_int_equal(ht__budget_solve(p->groups, p->n, limit, NULL, chosen, &sum, &bound, &exact, &diag), HT_OK);
    for (size_t i = 0; i < p->n; i++) {
        assert_true(chosen[i] < p->groups[i].n);
        again.bytes += p->options[i][chosen[i]].bytes;
        again.cost += p->options[i][chosen[i]].cost;
    }
    assert_true(exact);
    assert_true(again.bytes == sum.bytes && sum.bytes <= limit);
    assert_true(fabs(again.cost - sum.cost) < 1e-9 && bound <= sum.cost + 1e-9);
    return sum;
}

static void as_by_trying_all(void **state)
{
    static struct problem p;
    (void)state;
    for (int round = 0; round < 3000; round++) {
        make_small(&p);
        uint64_t least = ht__budget_least(p.groups, p.n);
        for (uint64_t limit = least; limit < least + 40; limit += 1 + draw() % 7) {
            double best = brute(&p, 0, limit);
            if (fabs(solve(&p, limit).cost - best) > 1e-9) fail_msg("round %d, limit %d", round, (int)limit);
        }
    }
}

static void nothing_meets_it(void **state)
{
    static struct problem p;
    uint32_t chosen[GROUPS];
    struct ht__budget_sum sum;
    struct ht_diag diag = {0};
    double bound;
    bool exact;
    (void)state;
    make_small(&p);
    uint64_t least = ht__budget_least(p.groups, p.n);
    assert_int_equal(ht__budget_solve(p.groups, p.n, least - 1, NULL, chosen, &sum, &bound, &exact, &diag),
                     HT_ERR_LIMIT);
    assert_int_equal(solve(&p, least).bytes, least);
}

/* A model of 300 matrices with a dozen types each: costs fall as bits rise, by factors of their own. */
static void make_large(struct problem *p)
{
    p->n = LARGE;
    for (size_t i = 0; i < p->n; i++) {
        uint64_t weights = 1000000 + draw() % 50000000;
        double scale = exp((double)(draw() % 1000) / 150.0);
        p->groups[i] = (struct ht__budget_group){p->options[i], 12};
        for (size_t k = 0; k < 12; k++) {
            double bits = 2 + .55 * (double)k;
            p->options[i][k] = (struct ht__budget_option){(uint64_t)((double)weights * bits / 8),
                                                          scale * exp2(-2 * bits) * (.9 + draw() % 100 * .002)};
        }
    }
}

/* Every corner of the curve is what the solver finds for its bytes; the curve falls. */
static void curve(void **state)
{
    static struct problem p;
    struct ht__budget_sum points[16];
    struct ht_diag diag = {0};
    size_t n = 0;
    (void)state;
    make_large(&p);
    assert_int_equal(ht__budget_curve(p.groups, p.n, NULL, 16, points, &n, &diag), HT_OK);
    assert_true(n == 16);
    assert_int_equal(points[0].bytes, ht__budget_least(p.groups, p.n));
    for (size_t i = 0; i < n; i++) {
        struct ht__budget_sum sum = solve(&p, points[i].bytes);
        assert_true(fabs(sum.cost - points[i].cost) <= 1e-9 * points[0].cost);
        assert_true(i == 0 || (points[i].bytes > points[i - 1].bytes && points[i].cost < points[i - 1].cost));
        if (i == 0) continue;
        uint64_t between = (points[i].bytes + points[i - 1].bytes) / 2;
        sum = solve(&p, between);
        assert_true(sum.cost < points[i - 1].cost && sum.cost > points[i].cost);
    }
}

/* The same whatever the order of groups and options. */
static void order(void **state)
{
    static struct problem p, q;
    (void)state;
    make_large(&p);
    q.n = p.n;
    for (size_t i = 0; i < p.n; i++) {
        q.groups[i] = (struct ht__budget_group){q.options[i], 12};
        for (size_t k = 0; k < 12; k++)
            q.options[i][k] = p.options[p.n - 1 - i][11 - k];
    }
    uint64_t limit = ht__budget_least(p.groups, p.n) * 7 / 4;
    struct ht__budget_sum a = solve(&p, limit), b = solve(&q, limit);
    assert_true(fabs(a.cost - b.cost) <= 1e-9 * a.cost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_by_trying_all),
        cmocka_unit_test(nothing_meets_it),
        cmocka_unit_test(curve),
        cmocka_unit_test(order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
