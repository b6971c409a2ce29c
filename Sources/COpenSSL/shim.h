#pragma once
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

// An OSSL_PARAM borrows the string it is given, and Swift turns a string macro
// into a value that does not outlive the call: so the parameters are built here.
static inline int jotd_hmac_init(EVP_MAC_CTX *context, const unsigned char *key,
                                 size_t key_length, char *digest) {
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end(),
  };
  return EVP_MAC_init(context, key, key_length, parameters);
}

// Macros that Swift does not see.
static inline void *jotd_secure_malloc(size_t count) { return OPENSSL_secure_malloc(count); }
static inline void jotd_secure_clear_free(void *bytes, size_t count) {
  OPENSSL_secure_clear_free(bytes, count);
}
