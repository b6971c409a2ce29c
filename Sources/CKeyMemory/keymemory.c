#include "CKeyMemory.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/provider.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local enum { ORDINARY, SECURE, WIPED } mode;

static void *allocate(size_t count, const char *file, int line) {
  if (mode == SECURE)
    return CRYPTO_secure_malloc(count, file, line);
  return count == 0 ? NULL : malloc(count);
}

static void release(void *bytes, const char *file, int line) {
  if (CRYPTO_secure_allocated(bytes)) {
    CRYPTO_secure_clear_free(bytes, CRYPTO_secure_actual_size(bytes), file, line);
    return;
  }
  if (mode != ORDINARY && bytes != NULL)
    explicit_bzero(bytes, malloc_usable_size(bytes));
  free(bytes);
}

static void *reallocate(void *bytes, size_t count, const char *file, int line) {
  if (bytes == NULL)
    return allocate(count, file, line);
  int isSecure = CRYPTO_secure_allocated(bytes);
  if (!isSecure && mode == ORDINARY)
    return realloc(bytes, count);
  if (count == 0) {
    release(bytes, file, line);
    return NULL;
  }
  // What is a key's stays one, and nothing of it stays where it was.
  size_t has = isSecure ? CRYPTO_secure_actual_size(bytes) : malloc_usable_size(bytes);
  void *other = isSecure ? CRYPTO_secure_malloc(count, file, line) : malloc(count);
  if (other == NULL)
    return NULL;
  memcpy(other, bytes, has < count ? has : count);
  release(bytes, file, line);
  return other;
}

// Held for as long as the process is: nobody lets go of it.
static OSSL_PROVIDER *standard;

int keymemory_prepare(size_t bytes) {
  if (!CRYPTO_set_mem_functions(allocate, reallocate, release))
    return 0;
  // What openssl.cnf names is somebody else's code, and may wait for a device: it is not loaded
  // where the keys are.
  OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
  // Before threads ask for what is in it, of which some would find nothing while it comes up.
  return CRYPTO_secure_malloc_init(bytes, 64) &&
         (standard = OSSL_PROVIDER_load(NULL, "default")) != NULL;
}

void keymemory_enter(void) { mode = SECURE; }
void keymemory_wipe(void) { mode = WIPED; }
void keymemory_leave(void) { mode = ORDINARY; }
