/*
 * The tables, by version. A version that was released is never changed: what comes later is a step of
 * its own at the end of the list.
 *
 * jobs.lease_until has these meanings: 0 waits, > 0 runs until then, NULL has ended, STORE__IN_PARTS: nobody has
 * it, and its tasks are what is to be done. tasks.lease_until: the same without the last. tasks.n is -1, -2 … of those that collect something
 * first. An epoch is one of the job's or of one
 * of its tasks, never of two.
 */
#include "service/store/sql.h"

#include <stdio.h>

static const char *const steps[] = {
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE jobs("
    " id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT, source_model TEXT NOT NULL, source_type TEXT NOT NULL,"
    " source_revision TEXT, source_path TEXT, output_formats TEXT NOT NULL, gguf_quant_types TEXT NOT NULL, config TEXT NOT NULL,"
    " options TEXT NOT NULL, command TEXT, status TEXT NOT NULL CHECK(status IN ('queued', 'downloading', 'preparing',"
    "  'quantizing', 'measuring', 'verifying', 'completed', 'failed', 'cancelled')),"
    " step TEXT, current_step TEXT, progress REAL NOT NULL DEFAULT 0, priority INTEGER NOT NULL DEFAULT 0,"
    " estimated_disk_gb REAL, estimated_time_minutes REAL, created_at INTEGER NOT NULL, started_at INTEGER, completed_at INTEGER,"
    " attempt INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 0, lease_until INTEGER DEFAULT 0, worker TEXT,"
    " cancel_requested INTEGER NOT NULL DEFAULT 0, error TEXT, error_advice TEXT, token_id TEXT) STRICT, WITHOUT ROWID;"
    "CREATE INDEX jobs_waiting ON jobs(priority DESC, id) WHERE lease_until IS NOT NULL;"
    "CREATE INDEX jobs_by_status ON jobs(status, id);"
    "CREATE INDEX jobs_by_name ON jobs(name COLLATE NOCASE, id);"
    "CREATE INDEX jobs_by_creation ON jobs(created_at, id);"
    "CREATE TABLE outputs("
    " id TEXT PRIMARY KEY, job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, position INTEGER NOT NULL,"
    " name TEXT, format TEXT NOT NULL, quant_type TEXT NOT NULL, file_size INTEGER, bits_per_weight REAL, perplexity REAL,"
    " kld REAL, top1_agreement REAL, relative_rmse REAL, sha256 TEXT, status TEXT NOT NULL, error TEXT, run_memory TEXT,"
    " path TEXT) STRICT, WITHOUT ROWID;"
    "CREATE INDEX outputs_by_job ON outputs(job_id, position);"
    "CREATE TABLE log(job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, n INTEGER NOT NULL, time INTEGER NOT NULL,"
    " level TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY(job_id, n)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE models("
    " id TEXT PRIMARY KEY, name TEXT NOT NULL, source_model TEXT NOT NULL, source_type TEXT NOT NULL, source_revision TEXT,"
    " architecture TEXT, parameters INTEGER, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,"
    " UNIQUE(source_type, source_model)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE variants("
    " id TEXT PRIMARY KEY, model_id TEXT NOT NULL REFERENCES models(id) ON DELETE CASCADE, job_id TEXT NOT NULL, name TEXT NOT NULL,"
    " format TEXT NOT NULL, quant_type TEXT NOT NULL, file_size INTEGER, bits_per_weight REAL, perplexity REAL, kld REAL,"
    " top1_agreement REAL, relative_rmse REAL, sha256 TEXT, quality TEXT, run_memory TEXT, path TEXT NOT NULL UNIQUE,"
    " created_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX variants_by_model ON variants(model_id, created_at);"
    "CREATE TABLE tags(model_id TEXT NOT NULL REFERENCES models(id) ON DELETE CASCADE, tag TEXT NOT NULL,"
    " PRIMARY KEY(model_id, tag)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE tokens(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, scope INTEGER NOT NULL, sha256 TEXT NOT NULL UNIQUE,"
    " created_at INTEGER NOT NULL, last_used_at INTEGER) STRICT, WITHOUT ROWID;"
    "CREATE TABLE submissions(token_id TEXT NOT NULL, key TEXT NOT NULL, body_sha256 TEXT NOT NULL, ids TEXT NOT NULL,"
    " created_at INTEGER NOT NULL, PRIMARY KEY(token_id, key)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX submissions_by_age ON submissions(created_at);",
    "CREATE INDEX variants_by_job ON variants(job_id);"
    "ALTER TABLE variants ADD COLUMN job_name TEXT;"
    "ALTER TABLE variants ADD COLUMN importance TEXT;"
    "UPDATE variants SET job_name = (SELECT name FROM jobs WHERE jobs.id = job_id);",
    "ALTER TABLE jobs ADD COLUMN ended_in TEXT;", /* the status that a failed or cancelled job had last */
    "ALTER TABLE jobs ADD COLUMN requested TEXT;" /* NULL, of older jobs: as gguf_quant_types says */
    "CREATE TABLE files("                         /* of variants that are folders */
    " variant_id TEXT NOT NULL REFERENCES variants(id) ON DELETE CASCADE, position INTEGER NOT NULL, name TEXT NOT NULL,"
    " size INTEGER NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY(variant_id, position)) STRICT, WITHOUT ROWID;"
    "CREATE UNIQUE INDEX files_by_name ON files(variant_id, name);",
    "CREATE TABLE workers(" /* on other machines */
    " id TEXT PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, slots INTEGER NOT NULL, labels TEXT NOT NULL,"
    " machine TEXT NOT NULL, started_at INTEGER NOT NULL, seen_at INTEGER NOT NULL, draining INTEGER NOT NULL DEFAULT 0)"
    " STRICT, WITHOUT ROWID;",
    "CREATE TABLE tasks(" /* of jobs that are made in parts */
    " job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, n INTEGER NOT NULL, parts INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0, lease_until INTEGER DEFAULT 0, worker TEXT,"
    " PRIMARY KEY(job_id, n)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX tasks_waiting ON tasks(lease_until) WHERE lease_until IS NOT NULL;"
    "CREATE INDEX tasks_by_epoch ON tasks(job_id, epoch);",
    /* an index for each of those among whom a claim looks (choice.c), in the order in which it looks: what runs is not read */
    "DROP INDEX jobs_waiting;"
    "DROP INDEX tasks_waiting;"
    "DROP INDEX tasks_by_epoch;" /* SQLite read all tasks of a job rather than this, of which it cannot tell that it finds one */
    "CREATE UNIQUE INDEX tasks_by_epoch ON tasks(job_id, epoch) WHERE epoch > 0;"
    "CREATE INDEX jobs_queued ON jobs(priority DESC, id) WHERE lease_until = 0;"
    "CREATE INDEX jobs_in_parts ON jobs(priority DESC, id) WHERE lease_until = " STORE__IN_PARTS ";"
    "CREATE INDEX jobs_leased ON jobs(lease_until) WHERE lease_until > 0 AND lease_until < " STORE__IN_PARTS ";"
    "CREATE INDEX tasks_queued ON tasks(job_id, abs(n)) WHERE lease_until = 0;"
    "CREATE INDEX tasks_leased ON tasks(job_id, lease_until) WHERE lease_until > 0;",
};

static const int newest = sizeof steps / sizeof *steps;

/* Which version the tables are of: SQLite has a place of its own for that. */
static enum store_result version_of(struct store *s, struct connection *c, int *version)
{
    struct statement *row;
    bool lite = s->driver == &store__sqlite;
    *version = 0;
    enum store_result result =
        store__first(s, c, &row, lite ? "PRAGMA user_version" : "SELECT to_regclass('meta') IS NOT NULL", "");
    if (result != STORE_OK) return result;
    int64_t value = sql_int64(row, 0);
    sql_reset(row);
    if (lite) *version = (int)value;
    if (lite || !value) return STORE_OK;
    result = store__first(s, c, &row, "SELECT value FROM meta WHERE name = 'version'", "");
    if (result != STORE_OK) return result == STORE_NOT_FOUND ? STORE_OK : result;
    *version = (int)sql_int64(row, 0);
    sql_reset(row);
    return STORE_OK;
}

static enum store_result take_step(struct store *s, int version)
{
    char note[160];
    if (s->driver == &store__sqlite)
        snprintf(note, sizeof note, "PRAGMA user_version=%d", version + 1);
    else
        snprintf(
            note, sizeof note,
            "INSERT INTO meta(name, value) VALUES('version', %d) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
            version + 1);
    if (s->driver->script(&s->writer, steps[version]) && s->driver->script(&s->writer, note)) return STORE_OK;
    return store__failure(s, &s->writer, "migrate");
}

bool store__is_newest(struct store *s, struct connection *c)
{
    int version;
    return version_of(s, c, &version) == STORE_OK && version == newest;
}

enum store_result store__migrate(struct store *s)
{
    int version;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = version_of(s, &s->writer, &version);
    if (result == STORE_OK && version > newest)
        result = store__failed(s, STORE_FAILED, "the database was made by a later version of this program");
    for (; result == STORE_OK && version < newest; version++)
        result = take_step(s, version);
    return store__end(s, result);
}
