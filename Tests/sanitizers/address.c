// Linked into what is built with the address sanitizer, and into nothing else, with --wrap: the
// leak check where the daemon ends, and what it cannot know by itself.
#include <openssl/crypto.h>
#include <sanitizer/lsan_interface.h>
#include <string.h>

// A daemon ends with _exit(2), where the leak check that belongs to exit(3) does not run. With
// exit(3) ends a start that failed, and nobody takes apart what it had made.
static int has_failed_to_start = 0;
int __lsan_is_turned_off(void) { return has_failed_to_start; }

__attribute__((constructor)) static void begin(int count, char **words) {
  has_failed_to_start = count > 1 && strcmp(words[1], "run") == 0;
}

_Noreturn void __real__exit(int);
_Noreturn void __wrap__exit(int status) {
  has_failed_to_start = 0;
  __lsan_do_leak_check();
  __real__exit(status);
}

// Keys, with pointers to the ordinary heap, are in OpenSSL's secure heap, somewhere around
// its first block. Weak, because the pure tests have no libcrypto.
#pragma weak CRYPTO_secure_malloc
#pragma weak CRYPTO_secure_free
__attribute__((weak)) int __real_CRYPTO_secure_malloc_init(size_t, size_t);
int __wrap_CRYPTO_secure_malloc_init(size_t bytes, size_t least) {
  int done = __real_CRYPTO_secure_malloc_init(bytes, least);
  void *first = CRYPTO_secure_malloc(least, __FILE__, __LINE__);
  if (done && first) __lsan_register_root_region((char *)first - bytes, 2 * bytes);
  CRYPTO_secure_free(first, __FILE__, __LINE__);
  return done;
}
