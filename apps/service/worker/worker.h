/* `halftone worker`: a process that works for a service elsewhere. */
#ifndef HT_SERVICE_WORKER_WORKER_H
#define HT_SERVICE_WORKER_WORKER_H

/* argv[0] is the verb. Works until SIGTERM or SIGINT. An exit status: 0, 1 it could not, 2 the arguments. */
int worker_run(int argc, char **argv);

#endif
