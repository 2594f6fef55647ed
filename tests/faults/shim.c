/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Makes system calls fail: loaded before the C library (LD_PRELOAD), it counts the calls of some kinds that concern files
 * below a folder, and lets one of them fail, do less than it was asked for, or be the last thing that the process does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* what happens at the chosen call; a positive number is an errno */
enum { SHORT = -1, KILL_BEFORE = -2, KILL_AFTER = -3 };
enum {
  OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, CLOSE = 16, RENAME = 32, LINK = 64, UNLINK = 128, MAKE = 256, ALLOCATE = 512
};

static char prefix[PATH_MAX];
static unsigned kinds;
static int event;
static atomic_long calls, chosen = -1;

void fault_arm(const char *folder, unsigned which, long number, int what)
{
  strncpy(prefix, folder, sizeof prefix - 1);
  kinds = which;
  event = what;
  atomic_store(&calls, 0);
  atomic_store(&chosen, number);
}

long fault_calls(void)
{
  return atomic_load(&calls);
}

static int below(const char *path)
{
  const size_t n = strlen(prefix);
  return n && !strncmp(path, prefix, n) && (path[n] == '/' || !path[n]);
}

static int fd_concerns(int fd)
{
  char name[40], path[PATH_MAX];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(name, path, sizeof path - 1);
  if (n < 0) {
    return 0;
  }
  path[n] = 0;
  return below(path);
}

static int path_concerns(int directory, const char *path)
{
  if (path[0] == '/') {
    return below(path);
  }
  if (directory != AT_FDCWD) {
    return fd_concerns(directory);
  }
  char cwd[PATH_MAX];
  return getcwd(cwd, sizeof cwd) && below(cwd);
}

/* Is this the call at which something happens? */
static int struck(unsigned kind, int concerns)
{
  if (!(kinds & kind) || !concerns || atomic_fetch_add(&calls, 1) != atomic_load(&chosen)) {
    return 0;
  }
  if (event == KILL_BEFORE) {
    kill(getpid(), SIGKILL);
  }
  return 1;
}

static long done(int was_struck, long result)
{
  if (was_struck && event == KILL_AFTER) {
    kill(getpid(), SIGKILL);
  }
  return result;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A call without a length: fails, or is done. */
#define PLAIN(kind, concerns, call)                         \
  const int now = kinds & (kind) ? struck(kind, concerns) : 0; \
  if (now && event > 0) {                                   \
    errno = event;                                          \
    return -1;                                              \
  }                                                         \
  return done(now, call)

#define OPEN_MODE                    \
  mode_t mode = 0;                   \
  if (flags & (O_CREAT | __O_TMPFILE)) { \
    va_list arguments;               \
    va_start(arguments, flags);      \
    mode = va_arg(arguments, mode_t);\
    va_end(arguments);               \
  }

int open(const char *path, int flags, ...)
{
  OPEN_MODE
  PLAIN(OPEN, path_concerns(AT_FDCWD, path), REAL(open)(path, flags, mode));
}

int open64(const char *path, int flags, ...)
{
  OPEN_MODE
  PLAIN(OPEN, path_concerns(AT_FDCWD, path), REAL(open64)(path, flags, mode));
}

int openat(int directory, const char *path, int flags, ...)
{
  OPEN_MODE
  PLAIN(OPEN, path_concerns(directory, path), REAL(openat)(directory, path, flags, mode));
}

int openat64(int directory, const char *path, int flags, ...)
{
  OPEN_MODE
  PLAIN(OPEN, path_concerns(directory, path), REAL(openat64)(directory, path, flags, mode));
}

/* A call with a length: fails, does a part of it, or is done. */
#define COUNTED(kind, fd, length, call)                      \
  const int now = kinds & (kind) ? struck(kind, fd_concerns(fd)) : 0; \
  if (now && event > 0) {                                    \
    errno = event;                                           \
    return -1;                                               \
  }                                                          \
  if (now && event == SHORT && (length) > 1) {               \
    length = (length) / 2;                                   \
  }                                                          \
  return done(now, call)

ssize_t read(int fd, void *data, size_t length)
{
  COUNTED(READ, fd, length, REAL(read)(fd, data, length));
}

ssize_t pread64(int fd, void *data, size_t length, off64_t position)
{
  COUNTED(READ, fd, length, REAL(pread64)(fd, data, length, position));
}

ssize_t preadv64v2(int fd, const struct iovec *vectors, int count, off64_t position, int flags)
{
  struct iovec first = vectors[0];
  const int now = kinds & READ ? struck(READ, fd_concerns(fd)) : 0;
  if (now && event > 0) {
    errno = event;
    return -1;
  }
  if (now && event == SHORT && first.iov_len > 1) {
    first.iov_len /= 2;
    return REAL(preadv64v2)(fd, &first, 1, position, flags);
  }
  return done(now, REAL(preadv64v2)(fd, vectors, count, position, flags));
}

ssize_t write(int fd, const void *data, size_t length)
{
  COUNTED(WRITE, fd, length, REAL(write)(fd, data, length));
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t position)
{
  COUNTED(WRITE, fd, length, REAL(pwrite64)(fd, data, length, position));
}

int fsync(int fd)
{
  PLAIN(SYNC, fd_concerns(fd), REAL(fsync)(fd));
}

int fdatasync(int fd)
{
  PLAIN(SYNC, fd_concerns(fd), REAL(fdatasync)(fd));
}

/* The file is closed whatever is returned. */
int close(int fd)
{
  const int now = kinds & CLOSE ? struck(CLOSE, fd_concerns(fd)) : 0;
  const int result = REAL(close)(fd);
  if (now && event > 0) {
    errno = event;
    return -1;
  }
  return done(now, result);
}

int rename(const char *from, const char *to)
{
  PLAIN(RENAME, path_concerns(AT_FDCWD, to), REAL(rename)(from, to));
}

int link(const char *from, const char *to)
{
  PLAIN(LINK, path_concerns(AT_FDCWD, to), REAL(link)(from, to));
}

int linkat(int from_directory, const char *from, int directory, const char *to, int flags)
{
  PLAIN(LINK, path_concerns(directory, to), REAL(linkat)(from_directory, from, directory, to, flags));
}

int symlink(const char *text, const char *path)
{
  PLAIN(LINK, path_concerns(AT_FDCWD, path), REAL(symlink)(text, path));
}

int unlink(const char *path)
{
  PLAIN(UNLINK, path_concerns(AT_FDCWD, path), REAL(unlink)(path));
}

int mkdir(const char *path, mode_t mode)
{
  PLAIN(MAKE, path_concerns(AT_FDCWD, path), REAL(mkdir)(path, mode));
}

/* returns the error */
int posix_fallocate64(int fd, off64_t offset, off64_t length)
{
  const int now = kinds & ALLOCATE ? struck(ALLOCATE, fd_concerns(fd)) : 0;
  return now && event > 0 ? event : (int)done(now, REAL(posix_fallocate64)(fd, offset, length));
}
