/*
 * SoftHSM behind a gate: while the file named by GATED_TOKEN_GATE is there, a login or a signature does not come back, and
 * no other call does either, because all share one lock, as in OpenSC and in the libraries of many HSMs.
 *
 * It gives up after ten seconds, so that a process that waits for it in vain can say so.
 *
 * When the file GATED_TOKEN_GATE.lost appears, it loses its HSM: each call that begins a signature ends with a code of the
 * maker's own, until the library is initialized anew.
 *
 * What SoftHSM never says it says by files, in hexadecimal: the flags in GATED_TOKEN_GATE.flags are added to those of each
 * token, and a login ends with the code in GATED_TOKEN_GATE.answer. Each login that is tried is a line in .logins.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <pkcs11.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST gated;

static CK_RV pass(void) {
  const char *gate = getenv("GATED_TOKEN_GATE");
  const struct timespec pause = {0, 5000000};
  for (int tries = 0; gate != 0 && access(gate, F_OK) == 0; tries++) {
    if (tries > 2000) return CKR_FUNCTION_FAILED;
    nanosleep(&pause, 0);
  }
  return CKR_OK;
}

static int lost;

static CK_RV initialize(void *arguments) {
  lost = 0;
  return real->C_Initialize(arguments);
}

/* CKR_VENDOR_DEFINED and above are for makers of tokens. */
static CK_RV connected(void) {
  char file[4096];
  snprintf(file, sizeof file, "%s.lost", getenv("GATED_TOKEN_GATE"));
  if (unlink(file) == 0) lost = 1;
  return lost ? CKR_VENDOR_DEFINED + 7 : CKR_OK;
}

/* 0: no such file. */
static CK_ULONG told(const char *ending) {
  char name[4096];
  CK_ULONG value = 0;
  snprintf(name, sizeof name, "%s.%s", getenv("GATED_TOKEN_GATE"), ending);
  FILE *file = fopen(name, "r");
  if (file == 0) return 0;
  if (fscanf(file, "%lx", &value) != 1) value = 0;
  fclose(file);
  return value;
}

static void note_login(void) {
  char name[4096];
  snprintf(name, sizeof name, "%s.logins", getenv("GATED_TOKEN_GATE"));
  FILE *file = fopen(name, "a");
  if (file == 0) return;
  fputs("login\n", file);
  fclose(file);
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info) {
  CK_RV result = real->C_GetTokenInfo(slot, info);
  if (result == CKR_OK) info->flags |= told("flags");
  return result;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG size) {
  pthread_mutex_lock(&lock);
  note_login();
  CK_RV result = pass();
  if (result == CKR_OK) result = told("answer");
  if (result == CKR_OK) result = real->C_Login(session, user, pin, size);
  pthread_mutex_unlock(&lock);
  return result;
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) {
  pthread_mutex_lock(&lock);
  CK_RV result = connected();
  if (result == CKR_OK) result = real->C_SignInit(session, mechanism, key);
  pthread_mutex_unlock(&lock);
  return result;
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG size, CK_BYTE *signature,
                  CK_ULONG *signature_size) {
  pthread_mutex_lock(&lock);
  CK_RV result = pass();
  if (result == CKR_OK) result = real->C_Sign(session, data, size, signature, signature_size);
  pthread_mutex_unlock(&lock);
  return result;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list) {
  void *library = dlopen(SOFTHSM, RTLD_NOW);
  CK_C_GetFunctionList get = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : 0;
  if (get == 0) return CKR_GENERAL_ERROR;
  CK_RV result = get(&real);
  if (result != CKR_OK) return result;
  gated = *real;
  gated.C_Initialize = initialize;
  gated.C_GetTokenInfo = token_info;
  gated.C_Login = login;
  gated.C_SignInit = sign_init;
  gated.C_Sign = sign;
  *list = &gated;
  return CKR_OK;
}
