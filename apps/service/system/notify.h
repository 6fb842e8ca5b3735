/* Word to the service manager that started us. */
#ifndef HT_SERVICE_SYSTEM_NOTIFY_H
#define HT_SERVICE_SYSTEM_NOTIFY_H

/* "READY=1", "STOPPING=1" …: a datagram to $NOTIFY_SOCKET; nothing when there is none. */
void notify_manager(const char *state);

#endif
