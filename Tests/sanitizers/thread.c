// Linked into what is built with the thread sanitizer, and into nothing else: two things of Swift
// 6.3 that the sanitizer does not know. It is told of them; nothing of jotd is suppressed.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>

void __tsan_acquire(void *);
void __tsan_release(void *);

// A contended Mutex is handed over in the Synchronization library, which is not instrumented, and
// in the kernel (FUTEX_LOCK_PI): what it protects would look like a race. These take the place of
// the library's slow paths: they do the same, and the sanitizer hears of it.
#define SWIFT __attribute__((swiftcall))
#define SELF __attribute__((swift_context)) void *self
#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define TRY_LOCK "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

SWIFT void lock(uint32_t thread, SELF) __asm__(LOCK);
SWIFT _Bool try_lock(SELF) __asm__(TRY_LOCK);
SWIFT void unlock(SELF) __asm__(UNLOCK);

SWIFT void lock(uint32_t thread, SELF) {
  ((SWIFT void (*)(uint32_t, SELF))dlsym(RTLD_NEXT, LOCK))(thread, self);
  __tsan_acquire(self);
}

SWIFT _Bool try_lock(SELF) {
  _Bool locked = ((SWIFT _Bool (*)(SELF))dlsym(RTLD_NEXT, TRY_LOCK))(self);
  if (locked) __tsan_acquire(self);
  return locked;
}

SWIFT void unlock(SELF) {
  __tsan_release(self);
  ((SWIFT void (*)(SELF))dlsym(RTLD_NEXT, UNLOCK))(self);
}

// The compiler announces every inout access, also that of an empty value such as a
// SystemRandomNumberGenerator, whose address is what a register happens to hold: that of a constant
// of the program, where the sanitizer cannot take note of a write and crashes. Nothing can be
// written there, so nothing is missed. Linked with --wrap.
extern const char __executable_start[], etext[];
void __real___tsan_external_write(void *, void *, void *);
void __wrap___tsan_external_write(void *address, void *caller, void *tag) {
  if ((const char *)address < __executable_start || (const char *)address >= etext)
    __real___tsan_external_write(address, caller, tag);
}
