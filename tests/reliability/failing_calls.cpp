// The n-th call of a function of the operating system fails, for files below a folder: loaded with LD_PRELOAD, armed by
// tests/reliability.

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

char below[4096] = "";
char which[16] = "";
long at = 0;     // the call that fails, from 1; 0: none
long calls = 0;  // so far
int code = 0;
bool lasting = false;  // whether all calls after it fail too

bool inside(const char* path) { return path != nullptr && below[0] != 0 && strncmp(path, below, strlen(below)) == 0; }

bool inside(int handle) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return false;
  path[length] = 0;
  return inside(path);
}

bool fails(const char* name) {
  if (strcmp(name, which) != 0 && strcmp("any", which) != 0) return false;
  ++calls;
  if (at == 0 || calls < at || (calls > at && !lasting)) return false;
  if (code == 0) kill(getpid(), SIGKILL);
  errno = code;
  return true;
}

template <typename Function>
Function* original(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

mode_t mode_of(int flags, va_list arguments) { return (flags & O_CREAT) != 0 ? static_cast<mode_t>(va_arg(arguments, int)) : 0; }

}  // namespace

extern "C" {

void failing_calls_arm(const char* folder, const char* name, long place, int error, int lasts) {
  snprintf(below, sizeof below, "%s", folder);
  snprintf(which, sizeof which, "%s", name);
  at = place, calls = 0, code = error, lasting = lasts != 0;
}

long failing_calls_count() { return calls; }

ssize_t write(int handle, const void* data, size_t size) {
  if (inside(handle) && fails("write")) return -1;
  return original<ssize_t(int, const void*, size_t)>("write")(handle, data, size);
}

int fsync(int handle) {
  if (inside(handle) && fails("fsync")) return -1;
  return original<int(int)>("fsync")(handle);
}

int flock(int handle, int operation) {
  if (inside(handle) && fails("flock")) return -1;
  return original<int(int, int)>("flock")(handle, operation);
}

int rename(const char* from, const char* to) {
  if (inside(to) && fails("rename")) return -1;
  if (inside(to) && strcmp(which, "replace") == 0 && access(to, F_OK) == 0 && fails("replace")) return -1;
  return original<int(const char*, const char*)>("rename")(from, to);
}

int unlink(const char* path) {
  if (inside(path) && fails("unlink")) return -1;
  return original<int(const char*)>("unlink")(path);
}

int mkdir(const char* path, mode_t mode) {
  if (inside(path) && fails("mkdir")) return -1;
  return original<int(const char*, mode_t)>("mkdir")(path, mode);
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  if ((flags & O_CREAT) != 0 && inside(path) && fails("create")) return -1;
  return original<int(const char*, int, ...)>("open")(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  if ((flags & O_CREAT) != 0 && inside(path) && fails("create")) return -1;
  return original<int(const char*, int, ...)>("open64")(path, flags, mode);
}

}  // extern "C"
