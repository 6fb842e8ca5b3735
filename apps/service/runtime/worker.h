/* A model's process: `halftone serve --as-model PATH …`, started by the service alone. */
#ifndef HT_SERVICE_RUNTIME_WORKER_H
#define HT_SERVICE_RUNTIME_WORKER_H

/* An exit status. */
int runtime_worker_main(int argc, char **argv);

#endif
