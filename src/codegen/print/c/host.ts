/**
 * The end of every C source: the table of its kernels, and the one function that the host calls. The host hands over a
 * list of launches, so that the source depends on the distinct kernels only, not on how often they are used.
 *
 *     scion_run(launches, count, table, buffers, sizes, scratch, seconds)
 *
 * launches: kernel, first buffer and first size of each; table: addresses that `buffers` point into (by number).
 */
/** threads that live for one launch list would cost more than they save: they stay, and wait for the next launch */
const pool = `#include <pthread.h>
#define MOST 64
static struct { kernel_t kernel; float *const *b; const int *n; float *scratch; long scratch_size, total; int threads; } job;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, one = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t begun = PTHREAD_COND_INITIALIZER, ended = PTHREAD_COND_INITIALIZER;
static int started, round_no, running;
/* the w-th of equal parts: which thread runs a task never changes what the task computes */
static void part(int w) {
  const long from = job.total * w / job.threads, to = job.total * (w + 1) / job.threads;
  if (from < to) job.kernel(job.b, job.n, job.scratch + job.scratch_size * w, from, to);
}
static void *worker(void *arg) {
  const int w = (int)(long)arg;
  int seen = 0;
  for (;;) {
    pthread_mutex_lock(&lock);
    while (seen == round_no) pthread_cond_wait(&begun, &lock);
    seen = round_no;
    pthread_mutex_unlock(&lock);
    if (w < job.threads) part(w);
    pthread_mutex_lock(&lock);
    if (--running == 0) pthread_cond_signal(&ended);
    pthread_mutex_unlock(&lock);
  }
  return 0;
}
static void share(kernel_t kernel, float *const *b, const int *n, float *scratch, long scratch_size, long total, int threads) {
  pthread_mutex_lock(&one);
  if (threads > MOST) threads = MOST;
  job.kernel = kernel, job.b = b, job.n = n, job.scratch = scratch, job.scratch_size = scratch_size, job.total = total, job.threads = threads;
  pthread_mutex_lock(&lock);
  for (; started < threads - 1; started++) {
    pthread_t t;
    if (pthread_create(&t, 0, worker, (void *)(long)(started + 1))) break;
    pthread_detach(t);
  }
  job.threads = started + 1 < threads ? started + 1 : threads;
  running = started;
  round_no++;
  pthread_cond_broadcast(&begun);
  pthread_mutex_unlock(&lock);
  part(0);
  pthread_mutex_lock(&lock);
  while (running > 0) pthread_cond_wait(&ended, &lock);
  pthread_mutex_unlock(&lock);
  pthread_mutex_unlock(&one);
}`

export const hostC = (names: ReadonlyArray<string>): string => `#include <time.h>
typedef void (*kernel_t)(float *const *, const int *, float *, long, long);
static const kernel_t kernels[] = {${names.map((n) => `call_${n}`).join(', ') || '0'}};
static long (*const tasks[])(const int *) = {${names.map((n) => `tasks_${n}`).join(', ') || '0'}};
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
#ifdef THREADS
${pool}
#endif
/* launches: {kernel, first of its buffers, first of its sizes} each; seconds: one a launch, or none */
void scion_run(const int *launches, int count, float *const *buffers, const int *sizes, float *scratch, long scratch_size, int threads, double *seconds) {
  for (int i = 0; i < count; i++) {
    const int *l = launches + 3 * i;
    const double start = seconds ? now() : 0;
    const int *n = sizes + l[2];
    const long total = tasks[l[0]](n);
#ifdef THREADS
    if (threads > 1 && total > 1) share(kernels[l[0]], buffers + l[1], n, scratch, scratch_size, total, threads);
    else
#endif
    kernels[l[0]](buffers + l[1], n, scratch, 0, total);
    if (seconds) seconds[i] = now() - start;
  }
}
`
