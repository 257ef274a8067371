/* Faults and halts between a broker and its disk: preloaded into the process by tests, never built
   into it.

   HALLPASS_FAULT="CALL:ACTION[:N]" acts on every matching CALL, or on the N-th alone.
     CALL    write, fdatasync, fsync, or any (these, and what creates, renames or cuts a file)
     ACTION  eio, enospc   the call fails
             short         half of the bytes are written, and that is told
             skip          nothing is done, and success is told
             slow          it takes 300 ms longer
             stop          it is done, and then the process stops, as by SIGSTOP
   HALLPASS_FAULT_WHEN=FILE  calls match only while that file exists
   HALLPASS_FAULT_PATH=TEXT  calls match only on files whose path holds this text */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_long seen;

/* The action for this call, or NULL: `path` is on the list, the trigger is there, its turn has come. */
static const char *action(const char *call, const char *path) {
    const char *fault = getenv("HALLPASS_FAULT"), *when = getenv("HALLPASS_FAULT_WHEN");
    const char *where = getenv("HALLPASS_FAULT_PATH");
    if (!fault || (where && !strstr(path, where))) return NULL;
    size_t length = strcspn(fault, ":");
    if (strncmp(fault, "any:", 4) != 0 && (strlen(call) != length || strncmp(fault, call, length) != 0)) return NULL;
    if (when && access(when, F_OK) != 0) return NULL;
    const char *what = fault + length + 1, *turn = strchr(what, ':');
    long now = atomic_fetch_add(&seen, 1) + 1;
    return !turn || atol(turn + 1) == now ? what : NULL;
}

static const char *action_on(const char *call, int fd) {
    int before = errno;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return NULL;
    path[length] = 0;
    return action(call, path);
}

static int is(const char *what, const char *name) {
    return what && strncmp(what, name, strlen(name)) == 0;
}

/* What a call that succeeded does afterwards; the stop is this thread's own, so not one step follows. */
static void afterwards(const char *what) {
    int before = errno;
    if (is(what, "stop")) syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
    if (is(what, "slow")) nanosleep(&(struct timespec){0, 300 * 1000 * 1000}, NULL);
    errno = before;
}

static int fails(const char *what) {
    if (is(what, "eio")) errno = EIO;
    else if (is(what, "enospc")) errno = ENOSPC;
    else return 0;
    return 1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    const char *what = fd > 2 ? action_on("write", fd) : NULL;
    if (fails(what)) return -1;
    ssize_t done = REAL(write)(fd, bytes, is(what, "short") && count > 1 ? count / 2 : count);
    afterwards(what);
    return done;
}

int fdatasync(int fd) {
    const char *what = action_on("fdatasync", fd);
    if (fails(what)) return -1;
    int done = is(what, "skip") ? 0 : REAL(fdatasync)(fd);
    afterwards(what);
    return done;
}

int fsync(int fd) {
    const char *what = action_on("fsync", fd);
    if (fails(what)) return -1;
    int done = is(what, "skip") ? 0 : REAL(fsync)(fd);
    afterwards(what);
    return done;
}

int ftruncate64(int fd, off64_t length) {
    const char *what = action_on("ftruncate", fd);
    int done = REAL(ftruncate64)(fd, length);
    afterwards(what);
    return done;
}

int rename(const char *from, const char *to) {
    const char *what = action("rename", to);
    int done = REAL(rename)(from, to);
    afterwards(what);
    return done;
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0;
    va_end(arguments);
    const char *what = flags & O_CREAT ? action("create", path) : NULL;
    int done = REAL(open64)(path, flags, mode);
    afterwards(what);
    return done;
}
