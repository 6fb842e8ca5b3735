/*
 * One model in a process of its own: this program as a child, which reads requests from a socket and writes what it makes
 * to its standard output. Both are lines of JSON.
 *
 * To the child, each with the "id" of what it belongs to:
 *   {"do": "text", "chat": {"messages": […], "tools": […], …} | "prompt": "…" | "tokens": […],
 *    "plain": what takes the place of a chat where the model has no template,
 *    "max_tokens", "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty",
 *    "repeat_last", "seed", "stops": […], "n_top", "echo", "schema", "template"}     members that are not there: defaults
 *   {"do": "embed", "inputs": [text | [token, …], …], "truncate": true}
 *   {"do": "cancel"}
 * From it:
 *   {"event": "ready", …}                  once: what it holds, see runtime/worker.c
 *   {"event": "error", "code", "message"}  without an id: it could not be opened, or cannot go on
 *   {"id", "event": "begun", "prompt_tokens"}
 *   {"id", "event": "piece", "text", "tokens": [{"text", "bytes", "logprob", "top": […]}]}
 *   {"id", "event": "end", "reason", "prompt_tokens", "read_tokens", "new_tokens", "prompt_seconds", "seconds", …}
 *   {"id", "event": "error", "code", "message"}
 */
#ifndef HT_SERVICE_RUNTIME_MODEL_H
#define HT_SERVICE_RUNTIME_MODEL_H

/* The descriptor of the child's end of the socket is in this variable of its environment. */
#define RUNTIME_SOCKET "HALFTONE_MODEL_SOCKET"

#endif
