/* The list of commands, help, and what happens to errors. */
#include "cli.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command quantize = {
    "quantize", "MODEL -t TYPE[,TYPE…] [-o DIR] [options]",
    "write a model in one or several quantized types, from one reading",
    "MODEL is a Hugging Face folder, a .gguf, .safetensors or PyTorch file, or ORG/NAME of a hub. Nothing is published before\n"
    "it has been read back and checked.\n\n"
    "Examples:\n"
    "  halftone quantize Llama-3.2-1B -t Q4_K_M,Q5_K_M,Q8_0 -o out\n"
    "  halftone quantize model-BF16.gguf -t IQ3_M --imatrix imatrix.gguf -o out\n"
    "  halftone quantize Llama-3.2-1B -t IQ3_M,Q4_K_M --calibration default -o out\n"
    "  halftone quantize MODEL -t Q4_K_M --tensor-type 'ffn_down=q6_k' --dry-run\n",
    run_quantize};
static const struct command convert = {
    "convert", "MODEL -t F32|F16|BF16 [-o DIR|FILE.gguf] [options]",
    "write a model as GGUF without quantizing it",
    "Examples:\n"
    "  halftone convert Llama-3.2-1B -t BF16 -o llama.gguf\n"
    "  halftone convert MODEL -t F16 --split-max-size 2G -o out\n",
    run_quantize};
static const struct command estimate = {
    "estimate", "MODEL -t TYPE[,TYPE…] [options]", "exact sizes; disk, memory and time to make them; memory to run them",
    "Sizes are those that `quantize` will write, to the byte. Of the model only headers are read; the time comes from\n"
    "measuring this machine's encoders, disk and matrix products for less than half a second, as if nothing else ran; with\n"
    "--calibration and --measure the model's own running is in it. Memory to run is what llama.cpp allocates: weights,\n"
    "cache of keys and values, buffers; a fifth is added.\n\n"
    "Examples:\n"
    "  halftone estimate Llama-3.2-1B -t Q4_K_M,Q8_0\n"
    "  halftone estimate Llama-3.2-1B -t Q4_K_M --ctx 32768 --cache-type q8_0\n",
    run_estimate};
static const struct command recommend = {
    "recommend", "MODEL [--memory SIZE | --gpu NAME] [--ctx N] [options]", "the best type of a model for a memory or a card",
    "The type that loses least among those that fit, with a fifth to spare, beside the cache of the context; with the\n"
    "reasons, and all others. Losses are those of our own measurements (doc/quality.md). Speed is a bound: the card's\n"
    "bandwidth over the bytes read for a token, with the context full. Without --memory and --gpu: this machine's memory.\n\n"
    "Examples:\n"
    "  halftone recommend Llama-3.1-8B --memory 8G\n"
    "  halftone recommend Llama-3.1-8B --gpu 'RTX 3060' --ctx 8192\n"
    "  halftone recommend Llama-3.1-70B --gpu 'RTX 3090' --gpu-count 2 --cache-type q8_0\n"
    "  halftone recommend Llama-3.1-8B --gpu 'M2 Pro' --memory 16Gi\n",
    run_recommend};
static const struct command gpus = {
    "gpus", "[--json]", "the cards that `recommend --gpu` knows, with memory and bandwidth", "", run_gpus};
static const struct command eval = {
    "eval", "MODEL… --text FILE [--against MODEL] [options]", "how well a model predicts a text, and what quantizing lost",
    "Perplexity as the field defines it: chunks of 512 tokens, their second halves scored. Against a reference also\n"
    "the divergence of every prediction, token by token, in the same run: no file of logits is written.\n\n"
    "Examples:\n"
    "  halftone eval out/model-Q4_K_M.gguf --text wiki.test.raw\n"
    "  halftone eval out/*.gguf --text wiki.test.raw --against Llama-3.2-1B --html report.html\n",
    run_eval};
static const struct command compare = {
    "compare", "MODEL MODEL… --text FILE [--against MODEL] [options]", "models side by side: size, quality, speed, memory",
    "Without --against the largest of them is the reference. A model that no other beats in both size and divergence\n"
    "is marked with *: the choice lies between those.\n\n"
    "Example:\n  halftone compare out/*.gguf --text wiki.test.raw --against Llama-3.2-1B\n",
    run_eval};
static const struct command imatrix = {
    "imatrix", "MODEL [--text FILE] -o FILE.gguf [options]", "which input columns of each matrix matter, for --imatrix",
    "Runs a text through the model and sums the squares of what each matrix is multiplied with, in the field's own\n"
    "definition and file. Interrupted, it leaves FILE.partial, and --resume goes on from there.\n\n"
    "Examples:\n"
    "  halftone imatrix Llama-3.2-1B -o imatrix.gguf\n"
    "  halftone imatrix Llama-3.2-1B --text wiki.train.raw -o imatrix.gguf\n"
    "  halftone imatrix --in-file a.gguf --in-file b.gguf -o both.gguf\n"
    "  halftone imatrix --in-file imatrix.gguf --statistics\n",
    run_imatrix};
static const struct command inspect = {
    "inspect", "FILE|FOLDER [--tensors] [--verify] [--json]", "what is inside any supported file",
    "  --tensors             list every tensor\n"
    "  --verify              check every block; the first bad one is named\n"
    "  --json                one JSON object\n"
    "  --offline             a hub's model from the cache alone\n\n"
    "Example:\n  halftone inspect model.gguf --tensors --verify\n",
    run_inspect};
static const struct command generate = {
    "generate", "MODEL -p TEXT|--chat [options]", "what a model says: a text continued, or a conversation",
    "  -p, --prompt TEXT     the text to go on with; with --chat, what the user says\n"
    "  -f, --file FILE       the same from a file; \"-\" is the standard input\n"
    "  --chat                a conversation, as the model's chat template writes it; without -p or -f, line by line\n"
    "                        from the standard input\n"
    "  --system TEXT         the conversation's system message\n"
    "  -n N                  as --max-tokens\n"
    "  --json                a JSON line for each piece of text, and one with figures at the end\n"
    "  --quiet               no figures, no warnings\n"
    "  --offline             a hub's model from the cache alone\n\n"
    "The text is written as it is made; a character is written when it is whole. On a terminal, control characters\n"
    "that a model writes are shown, not obeyed. Ctrl-C ends early with what is there; in a conversation it ends the\n"
    "answer.\n\n"
    "Examples:\n"
    "  halftone generate model-Q4_K_M.gguf -p 'Once upon a time' -n 100\n"
    "  halftone generate Llama-3.2-1B -f story.txt --temperature 0.8 --seed 1 --stop 'The End'\n"
    "  halftone generate model-Q4_K_M.gguf --chat --system 'Answer briefly.'\n",
    run_generate};
static const struct command tokenize = {
    "tokenize", "MODEL [--text FILE|-] [--decode] [--around] [--plain] [--json]",
    "the token ids of a text, and back",
    "MODEL is a GGUF file or a Hugging Face folder. Ids are written one a line.\n\n"
    "  --text FILE|-         the text; \"-\", the standard input, is the default\n"
    "  --decode              the input is ids, and the text is written\n"
    "  --around              with the tokens that the model wants before and behind a text\n"
    "  --plain               control tokens' spellings are text like any other; not shown by --decode\n"
    "  --json                the input is a JSON array of texts (or of arrays of ids), the output likewise\n"
    "  --offline             a hub's model from the cache alone\n\n"
    "Example:\n  echo -n 'Hello world' | halftone tokenize model.gguf\n",
    run_tokenize};
#define SETTING(field, kind, name, metavar, preset, help) "  --" name " " metavar "\n        " help "\n"
static const struct command serve = {
    "serve", "[--port N] [--data DIR] [--models DIR]… [options]", "jobs, a web page and a REST API, until it is stopped",
#include "server/settings.def"
    "  --config FILE.yaml\n        settings from a file: `name: value`, lists where an option may be repeated\n"
    "  --new-token NAME [--scope read|submit|admin]\n        make a token (default: submit), print it once, and end\n"
    "  --list-tokens, --remove-token NAME\n        the tokens that there are; forget one\n\n"
    "Each option can also be set in the environment (HALFTONE_PORT, HALFTONE_MODELS=DIR:DIR …). Nearer wins: arguments,\n"
    "environment, file. HF_TOKEN, HF_ENDPOINT and HF_HOME are used for the model hub, and given to no job that computes.\n"
    "The log goes to the standard output, a JSON object a line; the first one tells the address.\n\n"
    "Examples:\n"
    "  halftone serve --models ~/models\n"
    "  halftone serve --new-token laptop --scope admin --data /srv/halftone\n"
    "  halftone serve --host 0.0.0.0 --data /srv/halftone --models /srv/models --allow-host quant.example.org\n",
    run_serve};
#undef SETTING
static const struct command pull = {
    "pull", "ORG/NAME[@REVISION][:FILE.gguf] [--include GLOB] [options]",
    "fetch a model from the hub into the cache that all of the hub's clients share",
    "Every other command takes such a name too, where nothing here is called so, and fetches what it needs. Only what\n"
    "conversion reads is fetched. What broke off goes on where it ended; nothing is used whose hash is not right.\n\n"
    "The environment says how: HF_TOKEN (or HUGGINGFACE_TOKEN, or the file $HF_HOME/token) for private and gated\n"
    "models, HF_ENDPOINT for a mirror, HF_HUB_CACHE or HF_HOME for the cache, HF_HUB_OFFLINE=1 to ask nobody,\n"
    "HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, and HF_HUB_DOWNLOAD_TIMEOUT for seconds of silence.\n\n"
    "Examples:\n"
    "  halftone pull meta-llama/Llama-3.2-1B\n"
    "  halftone pull org/model-GGUF:model-Q8_0.gguf --json\n"
    "  halftone estimate org/model -t Q4_K_M          (reads headers, downloads no weights)\n"
    "  halftone quantize org/model -t Q4_K_M --no-cache -o out\n",
    run_pull};
static const struct command hub = {
    "hub", "search TEXT [--limit N] | info ORG/NAME[@REVISION]", "look for models on the hub, and at what they hold",
    "  --limit N   at most N models (default 20, at most 100)\n"
    "  --json      as a JSON object\n\n"
    "Examples:\n  halftone hub search llama-3.2\n  halftone hub info meta-llama/Llama-3.2-1B --json\n",
    run_hub};
static const struct command types = {
    "types", "[--json]", "the mixes and numeric formats that can be written", "", run_types};
static const struct command archs = {
    "archs", "[--json]", "the architectures that can be converted", "", run_archs};
static const struct command completion = {
    "completion", "bash|zsh|fish", "a completion script for the shell",
    "Example:\n  halftone completion bash > /etc/bash_completion.d/halftone\n", run_completion};
static const struct command man = {
    "man", "[COMMAND]", "the manual page of a command, as mdoc source",
    "Example:\n  halftone man quantize | man -l -\n", run_man};

#define REMOTE_OPTIONS                                                                                                 \
    "  --server URL          where the server is (default: HALFTONE_SERVER, or http://127.0.0.1:8700)\n"               \
    "  --token TOKEN         who asks (default: HALFTONE_TOKEN)\n"                                                     \
    "  --json                the server's answers as they are\n\n"
static const struct command jobs = {
    "jobs", "[COMMAND] [arguments] [--server URL] [--token TOKEN] [--json]", "the jobs of a running `halftone serve`",
    "  list [--status S] [--search TEXT] [--sort KEY] [--limit N] [--offset N] [--cursor C]\n"
    "  show ID               a job with its outputs\n"
    "  submit MODEL… -t TYPE[,TYPE…] [--name NAME] [--description TEXT] [--priority N] [--source-type TYPE]\n"
    "         [--revision REV] [--idempotency-key KEY] [--dry-run] [--watch] [any option of quantize]\n"
    "                        several models make a job each\n"
    "  watch ID              progress until it ends; the exit status tells how\n"
    "  cancel ID, retry ID, delete ID\n"
    "  log ID, outputs ID\n"
    "  download ID [NAME|TYPE] [-o FILE] [--overwrite]\n"
    "                        continues what was interrupted; the file appears when its SHA-256 is right\n"
    "  ready                 does the server answer and take jobs? The exit status says it; no token is needed\n\n"
    "ID is a job's id, the end of it, or \"last\".\n\n" REMOTE_OPTIONS
    "Examples:\n"
    "  halftone jobs submit /srv/models/Llama-3.2-1B -t Q4_K_M,Q8_0 --watch\n"
    "  halftone jobs download last Q4_K_M\n"
    "  halftone jobs list --status queued,quantizing --json\n",
    run_jobs};
static const struct command registry = {
    "registry", "[COMMAND] [arguments] [--server URL] [--token TOKEN] [--json]", "the models that a running `halftone serve` has made",
    "  list [--search TEXT] [--tag TAG]\n"
    "  show ID               a model with its variants\n"
    "  tag ID [TAG…]         these are its tags from now on\n"
    "  delete ID [VARIANT]   a model with its files, or one of them\n"
    "  download ID VARIANT|TYPE|NAME [-o FILE] [--overwrite]\n\n" REMOTE_OPTIONS
    "Example:\n  halftone registry list --search llama\n",
    run_registry};

/* In the order of the list that the program prints. */
const struct command *const commands[] = {
    &quantize, &convert, &estimate, &recommend, &eval, &compare, &imatrix, &generate, &inspect, &tokenize,
    &pull, &hub, &serve, &jobs, &registry, &types, &gpus, &archs, &completion, &man, NULL};

void print_help(const struct command *c)
{
    struct ht_option_info o;
    bool any = false;
    printf("usage: halftone %s %s\n\n%s.\n", c->name, c->usage, c->about);
    for (size_t i = 0; option_at(i, &o); i++) {
        if (!option_is_for(&o, c->name)) continue;
        if (!any) printf("\nOptions:\n");
        any = true;
        char left[64];
        const char *letter = strcmp(o.name, "type") == 0     ? "-t, "
                             : strcmp(o.name, "output") == 0 ? "-o, "
                                                             : "";
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o.name, *o.metavar ? " " : "", o.metavar);
        printf("  %-38s %s\n", left, o.help);
    }
    if (any && c->run != run_generate)
        printf("  %-38s %s\n  %-38s %s\n  %-38s %s\n  %-38s %s\n", "--config FILE.yaml",
               "options from a recipe file", "--json", "results and progress as JSON lines on stdout",
               "--quiet", "no progress", "-h, --help", "this text");
    if (*c->details) printf("\n%s", c->details);
}

int usage_error(const struct command *c, const char *fmt, ...)
{
    va_list args;
    fprintf(stderr, "halftone %s: ", c->name);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\n`halftone %s --help` shows how it is used.\n", c->name);
    return EXIT_USAGE;
}

static int status_of(enum ht_err err)
{
    switch (err) {
    case HT_OK: return EXIT_DONE;
    case HT_ERR_USAGE:
    case HT_ERR_EXISTS: return EXIT_USAGE;
    case HT_ERR_NOT_FOUND:
    case HT_ERR_DENIED:
    case HT_ERR_FORMAT:
    case HT_ERR_UNSUPPORTED:
    case HT_ERR_NONFINITE:
    case HT_ERR_LIMIT: return EXIT_INPUT;
    case HT_ERR_MEMORY:
    case HT_ERR_NO_SPACE:
    case HT_ERR_NO_MEMORY_BUDGET: return EXIT_RESOURCES;
    case HT_ERR_CANCELLED: return EXIT_INTERRUPTED;
    default: return EXIT_FAILED;
    }
}

int report_error(const struct command *c, enum ht_err err, const struct ht_diag *diag, bool json)
{
    const char *message = diag->message[0] ? diag->message : ht_err_text(err);
    const char *colon = diag->where[0] ? ": " : "";
    if (json) {
        json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:I}", "event", "error", "code", ht_err_name(err),
                                 "where", diag->where, "message", message, "offset",
                                 (json_int_t)diag->offset);
        char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
        puts(text ? text : "{\"event\": \"error\"}");
        free(text);
        json_decref(line);
    }
    if (err == HT_ERR_CANCELLED)
        fprintf(stderr, "halftone %s: interrupted%s\n", c->name,
                strcmp(c->name, "imatrix") == 0 ? "" /* it says itself what it left */
                : strcmp(c->name, "pull") == 0  ? "; what came is kept, and the next time goes on from there"
                                                : "; nothing was left behind");
    else if (diag->offset >= 0)
        fprintf(stderr, "halftone %s: %s%s%s (at byte %lld)\n", c->name, diag->where, colon, message,
                (long long)diag->offset);
    else
        fprintf(stderr, "halftone %s: %s%s%s\n", c->name, diag->where, colon, message);
    return status_of(err);
}

static void print_commands(FILE *to)
{
    fprintf(to, "usage: halftone COMMAND …\n\nQuantizes language-model checkpoints.\n\nCommands:\n");
    for (int i = 0; commands[i]; i++)
        fprintf(to, "  %-11s %s\n", commands[i]->name, commands[i]->about);
    fprintf(to, "\n`halftone COMMAND --help` tells more, with examples.\n");
}

int main(int argc, char **argv)
{
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error that cleans up, not the end */
    signal(SIGPIPE, SIG_DFL); /* a reader that has seen enough is no error */
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0) {
        printf("halftone %s\n", ht_version());
        return EXIT_DONE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_commands(stdout);
        return EXIT_DONE;
    }
    for (int i = 0; commands[i]; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i]->run(commands[i], argc - 1, argv + 1);
    if (*name) fprintf(stderr, "halftone: there is no command \"%s\"\n\n", name);
    print_commands(stderr);
    return EXIT_USAGE;
}
