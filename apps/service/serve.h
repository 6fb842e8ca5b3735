/* `halftone serve`. */
#ifndef HT_SERVICE_SERVE_H
#define HT_SERVICE_SERVE_H

/* argv[0] is the verb. Serves until SIGTERM or SIGINT. An exit status: 0, 1 it could not, 2 the arguments. */
int server_main(int argc, char **argv);
/* The same with --as-model as the first argument: a model's process, which a service started. */
int model_main(int argc, char **argv);

/* `halftone worker`: works for a service elsewhere until SIGTERM or SIGINT. The same statuses. */
int worker_main(int argc, char **argv);

/* `halftone admin`: a service's data, from outside of it. The same statuses. */
int admin_main(int argc, char **argv);

#endif
