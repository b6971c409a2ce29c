// Mints as many tokens as its argument says, by libcrypto alone and by the algorithm that the next
// one names (HS256, ES256, EdDSA), and prints the seconds that took and the last token's length:
// what each costs at the least. What a signature is made with is made once.
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode(const unsigned char *from, size_t count, char *to) {
  char *begin = to;
  for (; count >= 3; from += 3, count -= 3) {
    unsigned three = from[0] << 16 | from[1] << 8 | from[2];
    *to++ = alphabet[three >> 18];
    *to++ = alphabet[three >> 12 & 63];
    *to++ = alphabet[three >> 6 & 63];
    *to++ = alphabet[three & 63];
  }
  if (count > 0) {
    unsigned three = from[0] << 16 | (count > 1 ? from[1] << 8 : 0);
    *to++ = alphabet[three >> 18];
    *to++ = alphabet[three >> 12 & 63];
    if (count > 1)
      *to++ = alphabet[three >> 6 & 63];
  }
  return to - begin;
}

static EVP_MAC_CTX *mac;
static EVP_PKEY_CTX *ecdsa;
static EVP_MD_CTX *eddsa;

// The signature of a message, 64 bytes at most; how long it is, or 0.
static size_t sign(const char *text, size_t length, unsigned char *signature) {
  const unsigned char *message = (const unsigned char *)text;
  size_t done = 64;
  if (mac != NULL)
    return EVP_MAC_init(mac, NULL, 0, NULL) && EVP_MAC_update(mac, message, length) &&
                   EVP_MAC_final(mac, signature, &done, 64)
               ? done
               : 0;
  if (eddsa != NULL)
    return EVP_DigestSign(eddsa, signature, &done, message, length) ? done : 0;
  // RFC 7518 section 3.4: the two numbers one after the other, and not in DER.
  unsigned char hash[32], der[80];
  const unsigned char *rest = der;
  size_t size = sizeof der;
  if (!EVP_Digest(message, length, hash, NULL, EVP_sha256(), NULL) ||
      EVP_PKEY_sign(ecdsa, der, &size, hash, sizeof hash) != 1)
    return 0;
  ECDSA_SIG *numbers = d2i_ECDSA_SIG(NULL, &rest, size);
  BN_bn2binpad(ECDSA_SIG_get0_r(numbers), signature, 32);
  BN_bn2binpad(ECDSA_SIG_get0_s(numbers), signature + 32, 32);
  ECDSA_SIG_free(numbers);
  return 64;
}

static int begin(const char *algorithm) {
  if (strcmp(algorithm, "ES256") == 0) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    ecdsa = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    return EVP_PKEY_sign_init(ecdsa) == 1 &&
           EVP_PKEY_CTX_set_signature_md(ecdsa, EVP_sha256()) == 1;
  }
  if (strcmp(algorithm, "EdDSA") == 0) {
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    eddsa = EVP_MD_CTX_new();
    return EVP_DigestSignInit_ex(eddsa, NULL, NULL, NULL, NULL, key, NULL) == 1;
  }
  unsigned char key[32];
  RAND_bytes(key, sizeof key);
  EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
  mac = EVP_MAC_CTX_new(hmac);
  OSSL_PARAM digest[] = {OSSL_PARAM_construct_utf8_string("digest", "SHA256", 0),
                         OSSL_PARAM_construct_end()};
  return EVP_MAC_init(mac, key, sizeof key, digest);
}

int main(int argc, char **argv) {
  long count = argc > 1 ? atol(argv[1]) : 100000;
  const char *algorithm = argc > 2 ? argv[2] : "HS256";
  if (!begin(algorithm))
    return 1;
  // As jotd's: a private key's tokens name it by its thumbprint (RFC 7638).
  char header[160];
  int head = mac != NULL
                 ? snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\"}", algorithm)
                 : snprintf(header, sizeof header,
                            "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"%043d\"}", algorithm, 0);
  char *token = NULL;
  size_t length = 0;
  struct timespec began, ended;
  clock_gettime(CLOCK_MONOTONIC, &began);
  for (long each = 0; each < count; each++) {
    char claims[160];
    long now = time(NULL);
    int size = snprintf(claims, sizeof claims,
                        "{\"user_id\":\"user-%ld\",\"role\":\"operator\",\"iat\":%ld,\"exp\":%ld}",
                        each % 1000, now, now + 86400);
    free(token);
    token = malloc(480);
    length = encode((const unsigned char *)header, head, token);
    token[length++] = '.';
    length += encode((const unsigned char *)claims, size, token + length);
    unsigned char signature[64];
    size_t done = sign(token, length, signature);
    if (done == 0)
      return 1;
    token[length++] = '.';
    length += encode(signature, done, token + length);
  }
  clock_gettime(CLOCK_MONOTONIC, &ended);
  printf("%.9f %zu\n",
         (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9,
         length);
}
