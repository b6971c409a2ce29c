#include "CKeyMemory.h"

#include <openssl/crypto.h>
#include <stdlib.h>

static _Thread_local int inside;

static void *allocate(size_t count, const char *file, int line) {
  if (inside)
    return CRYPTO_secure_malloc(count, file, line);
  return count == 0 ? NULL : malloc(count);
}

static void release(void *bytes, const char *file, int line) {
  if (CRYPTO_secure_allocated(bytes))
    CRYPTO_secure_clear_free(bytes, CRYPTO_secure_actual_size(bytes), file, line);
  else
    free(bytes);
}

static void *reallocate(void *bytes, size_t count, const char *file, int line) {
  // A key's memory does not grow, and nothing from the ordinary heap becomes a key's.
  if (bytes != NULL && CRYPTO_secure_allocated(bytes))
    return NULL;
  return bytes == NULL ? allocate(count, file, line) : realloc(bytes, count);
}

int keymemory_prepare(size_t bytes) {
  if (!CRYPTO_set_mem_functions(allocate, reallocate, release))
    return 0;
  return CRYPTO_secure_malloc_init(bytes, 64);
}

void keymemory_enter(void) { inside = 1; }
void keymemory_leave(void) { inside = 0; }
