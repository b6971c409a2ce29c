#pragma once
// Engines are the only way to PKCS#11 on some hosts.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/conf.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <string.h>

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

// An ECDSA signature as JWS has it (RFC 7518 section 3.4), r and s of `count` bytes each, from the
// DER that libcrypto makes. 1 when it is done.
static inline int jotd_ecdsa_raw(const unsigned char *der, size_t length, unsigned char *raw,
                                 int count) {
  ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)length);
  if (signature == NULL)
    return 0;
  int done = BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, count) == count &&
             BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + count, count) == count;
  ECDSA_SIG_free(signature);
  return done;
}

// And back: the length of the DER, which has room for 2 * `count` + 16 bytes; 0 when it cannot be.
static inline int jotd_ecdsa_der(const unsigned char *raw, int count, unsigned char *der) {
  ECDSA_SIG *signature = ECDSA_SIG_new();
  BIGNUM *r = BN_bin2bn(raw, count, NULL), *s = BN_bin2bn(raw + count, count, NULL);
  int length = 0;
  if (signature != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(signature, r, s) == 1) {
    r = s = NULL;
    length = i2d_ECDSA_SIG(signature, &der);
  }
  BN_free(r);
  BN_free(s);
  ECDSA_SIG_free(signature);
  return length > 0 ? length : 0;
}

// A number of a key (EVP_PKEY_get_bn_param(3)) in `count` bytes, or in as few as it needs when
// `count` is 0; how many these are, 0 when it is none or has more than `room`.
static inline int jotd_number(const EVP_PKEY *key, const char *name, int count,
                              unsigned char *bytes, int room) {
  BIGNUM *number = NULL;
  int length = 0;
  if (EVP_PKEY_get_bn_param(key, name, &number) == 1) {
    if (count == 0)
      count = BN_num_bytes(number);
    if (count > 0 && count <= room && BN_bn2binpad(number, bytes, count) == count)
      length = count;
  }
  BN_free(number);
  return length;
}

// EVP_EC_gen(3), EVP_RSA_gen(3) and their like are macros of a function that takes what it will.
static inline EVP_PKEY *jotd_generate_ec(const char *curve) { return EVP_EC_gen(curve); }
static inline EVP_PKEY *jotd_generate_rsa(size_t bits) { return EVP_RSA_gen(bits); }
static inline EVP_PKEY *jotd_generate_ed25519(void) {
  return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

// The private key that an engine has by this name (ENGINE_load_private_key(3)); NULL when it has
// none, with why in libcrypto's queue. What was loaded stays until the process ends.
static inline EVP_PKEY *jotd_engine_key(const char *engine, const char *name, UI_METHOD *method,
                                        void *data) {
  OPENSSL_init_crypto(OPENSSL_INIT_ENGINE_DYNAMIC, NULL);
  ENGINE *found = ENGINE_by_id(engine);
  if (found == NULL || !ENGINE_init(found))
    return NULL;
  return ENGINE_load_private_key(found, name, method, data);
}

static inline void jotd_free(void *bytes) { OPENSSL_free(bytes); }

// For CONF_modules_load_file(3).
static inline unsigned long jotd_usual_configuration(void) {
  return CONF_MFLAGS_DEFAULT_SECTION | CONF_MFLAGS_IGNORE_MISSING_FILE |
         CONF_MFLAGS_IGNORE_RETURN_CODES;
}
