/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Native CPL plugin of a recipe in Python, for esorex, python-cpl and PyCPL's CRecipe.
 *
 * The description of the recipe is static (RECIPE_TABLE, generated from the Python class by describe.py): listing and
 * describing it start no Python. To execute it, a fresh interpreter is started as a separate process; frames and
 * parameters go to it through its standard input, messages, products and errors come back through a pipe, as records of
 * netstrings (muse_core/frontends/protocol.py). Hosts fork, run threads, have another Python or another CPL loaded:
 * none of that reaches the recipe, and a crash of it becomes a CPL error.
 */
#define _GNU_SOURCE
#include <cpl.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARAMETER_BOOL, PARAMETER_INT, PARAMETER_DOUBLE, PARAMETER_STRING };

struct parameter {
  const char *name, *help;
  int type, hidden;
  double number;                /* default, or */
  const char *text;             /* default of a string */
  const char *const *choices;   /* ends with NULL; NULL: free */
  int limited;                  /* a double with limits: */
  double low, high;
};
struct input {
  const char *tag;
  int raw, minimum, maximum;
};

#include RECIPE_TABLE

#define EXPORT __attribute__((visibility("default")))
#define REPLY_DESCRIPTOR 3
#define FAILED (-1) /* what ESO's recipes return */
#define PYTHON_VARIABLE "MUSE_SCIPOST_PYTHON"

extern char **environ;

/* The process that loaded this library. */
static pid_t loader;

/* ---- description ------------------------------------------------------- */

static cpl_parameter *new_parameter(const struct parameter *entry)
{
  char *full = cpl_sprintf("%s.%s", RECIPE_CONTEXT, entry->name);
  cpl_parameter *par = NULL;
  if (entry->choices) {
    int count = 0, initial = 0;
    for (; entry->choices[count]; count++) {
      if (!strcmp(entry->choices[count], entry->text)) {
        initial = count;
      }
    }
    par = cpl_parameter_new_enum_from_array(full, CPL_TYPE_STRING, entry->help, RECIPE_CONTEXT, initial, count,
                                            (void *)entry->choices);
  } else if (entry->limited) {
    par = cpl_parameter_new_range(full, CPL_TYPE_DOUBLE, entry->help, RECIPE_CONTEXT, entry->number, entry->low,
                                  entry->high);
  } else if (entry->type == PARAMETER_BOOL) {
    par = cpl_parameter_new_value(full, CPL_TYPE_BOOL, entry->help, RECIPE_CONTEXT, (int)entry->number);
  } else if (entry->type == PARAMETER_INT) {
    par = cpl_parameter_new_value(full, CPL_TYPE_INT, entry->help, RECIPE_CONTEXT, (int)entry->number);
  } else if (entry->type == PARAMETER_DOUBLE) {
    par = cpl_parameter_new_value(full, CPL_TYPE_DOUBLE, entry->help, RECIPE_CONTEXT, entry->number);
  } else {
    par = cpl_parameter_new_value(full, CPL_TYPE_STRING, entry->help, RECIPE_CONTEXT, entry->text);
  }
  cpl_free(full);
  cpl_parameter_set_alias(par, CPL_PARAMETER_MODE_CLI, entry->name);
  cpl_parameter_set_alias(par, CPL_PARAMETER_MODE_CFG, entry->name);
  if (entry->hidden) {
    cpl_parameter_disable(par, CPL_PARAMETER_MODE_CLI);
  }
  return par;
}

static int recipe_create(cpl_plugin *plugin)
{
  if (cpl_error_get_code() == CPL_ERROR_FILE_NOT_CREATED) {
    /* the host could not make its log file, and has said so; that is no reason not to run */
    cpl_error_reset();
  }
  if (cpl_error_get_code() != CPL_ERROR_NONE) {
    return (int)cpl_error_get_code();
  }
  cpl_recipe *recipe = (cpl_recipe *)plugin;
  recipe->parameters = cpl_parameterlist_new();
  for (const struct parameter *entry = PARAMETERS; entry->name; entry++) {
    cpl_parameterlist_append(recipe->parameters, new_parameter(entry));
  }
  cpl_msg_set_time_on();
  return (int)cpl_error_get_code();
}

static int recipe_destroy(cpl_plugin *plugin)
{
  /* python-cpl has freed the parameters before; the frames are never ours */
  cpl_recipe *recipe = (cpl_recipe *)plugin;
  cpl_parameterlist_delete(recipe->parameters);
  recipe->parameters = NULL;
  return 0;
}

/* ---- records ----------------------------------------------------------- */

static void put(FILE *stream, const char *text)
{
  text = text ? text : "";
  fprintf(stream, "%zu:%s,", strlen(text), text);
}

static void put_number(FILE *stream, long number)
{
  char text[32];
  snprintf(text, sizeof text, "%ld", number);
  put(stream, text);
}

/* Reads one netstring; NULL at the end of the stream or if it is none. */
static char *get(FILE *stream)
{
  size_t size;
  if (fscanf(stream, "%zu", &size) != 1 || fgetc(stream) != ':' || size > INT_MAX) {
    return NULL;
  }
  char *text = cpl_malloc(size + 1);
  if (fread(text, 1, size, stream) != size || fgetc(stream) != ',') {
    cpl_free(text);
    return NULL;
  }
  text[size] = '\0';
  return text;
}

/* Reads `count` netstrings; returns 0 if there are fewer (then none is kept). */
static int get_fields(FILE *stream, char **fields, int count)
{
  for (int i = 0; i < count; i++) {
    if (!(fields[i] = get(stream))) {
      while (i-- > 0) {
        cpl_free(fields[i]);
      }
      return 0;
    }
  }
  return 1;
}

static void send_request(FILE *stream, const cpl_recipe *recipe)
{
  for (cpl_size i = 0; i < cpl_frameset_get_size(recipe->frames); i++) {
    const cpl_frame *frame = cpl_frameset_get_position_const(recipe->frames, i);
    put(stream, "F");
    put(stream, cpl_frame_get_filename(frame));
    put(stream, cpl_frame_get_tag(frame));
    put_number(stream, cpl_frame_get_group(frame));
  }
  for (const cpl_parameter *par = cpl_parameterlist_get_first_const(recipe->parameters); par;
       par = cpl_parameterlist_get_next_const(recipe->parameters)) {
    char number[64];
    put(stream, "P");
    put(stream, cpl_parameter_get_name(par));
    switch (cpl_parameter_get_type(par)) {
    case CPL_TYPE_BOOL:
      put(stream, "bool");
      put(stream, cpl_parameter_get_bool(par) ? "1" : "0");
      break;
    case CPL_TYPE_INT:
      put(stream, "int");
      put_number(stream, cpl_parameter_get_int(par));
      break;
    case CPL_TYPE_DOUBLE:
      snprintf(number, sizeof number, "%.17g", cpl_parameter_get_double(par));
      put(stream, "float");
      put(stream, number);
      break;
    default:
      put(stream, "str");
      put(stream, cpl_parameter_get_string(par));
    }
  }
  put(stream, "E");
}

static void replay_message(char *const *fields)
{
  switch (atoi(fields[0])) {
  case 0: cpl_msg_debug(fields[1], "%s", fields[2]); break;
  case 1: cpl_msg_info(fields[1], "%s", fields[2]); break;
  case 2: cpl_msg_warning(fields[1], "%s", fields[2]); break;
  default: cpl_msg_error(fields[1], "%s", fields[2]);
  }
}

/* How far the run is, in two lines on the terminal of standard error, if it is one and we are not in its background; the
 * cursor waits at their begin. Who shows no messages gets none, but for python-cpl, which forks and logs them instead. */
static int progress_shown = 0;

static void hide_progress(void)
{
  if (progress_shown) {
    fputs("\r\033[J", stderr);
    fflush(stderr);
    progress_shown = 0;
  }
}

static void show_progress(char *const *fields)
{
  const char *terminal = getenv("TERM");
  const pid_t foreground = tcgetpgrp(STDERR_FILENO);
  if (!isatty(STDERR_FILENO) || (foreground >= 0 && foreground != getpgrp()) ||
      (cpl_msg_get_level() == CPL_MSG_OFF && getpid() == loader) || !terminal || strcmp(terminal, "dumb") == 0) {
    return;
  }
  struct winsize size;
  const int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
  fflush(stdout);
  fprintf(stderr, "\r\033[J%.*s\n%.*s\r\033[A", width, fields[0], width, fields[1]);
  fflush(stderr);
  progress_shown = 1;
}

static void add_product(cpl_recipe *recipe, char *const *fields)
{
  cpl_frame *frame = cpl_frame_new();
  cpl_frame_set_filename(frame, fields[0]);
  cpl_frame_set_tag(frame, fields[1]);
  cpl_frame_set_type(frame, (cpl_frame_type)atoi(fields[2]));
  cpl_frame_set_level(frame, (cpl_frame_level)atoi(fields[3]));
  cpl_frame_set_group(frame, CPL_FRAME_GROUP_PRODUCT);
  cpl_frameset_insert(recipe->frames, frame);
}

/* Replays the records of the worker; returns 1 if the last one was seen. */
static int receive_reply(FILE *stream, cpl_recipe *recipe)
{
  char *fields[5], *kind;
  while ((kind = get(stream))) {
    const char which = *kind;
    cpl_free(kind);
    const int count = which == 'M' ? 3 : which == 'S' ? 3 : which == 'G' ? 2 : which == 'R' ? 4 : which == 'X' ? 5 : which == 'T' ? 2 : 0;
    if (which == 'E') {
      return 1;
    }
    if (count == 0 || !get_fields(stream, fields, count)) {
      return 0;
    }
    if (which == 'M') {
      hide_progress();
      replay_message(fields);
    } else if (which == 'S') {
      show_progress(fields);
    } else if (which == 'G') {
      cpl_frame *frame = cpl_frameset_get_position(recipe->frames, atol(fields[0]));
      cpl_frame_set_group(frame, (cpl_frame_group)atoi(fields[1]));
    } else if (which == 'R') {
      add_product(recipe, fields);
    } else if (which == 'X') {
      cpl_error_set_message_macro(fields[4], (cpl_error_code)atoi(fields[0]), fields[2], (unsigned)atoi(fields[3]),
                                  "%s", fields[1]);
    }
    for (int i = 0; i < count; i++) {
      cpl_free(fields[i]);
    }
  }
  return 0;
}

/* ---- worker ------------------------------------------------------------ */

/* The interpreter: an environment variable, or that of the installation tree in which this library lies, or the one that
 * built it. The result is to be freed. */
static char *interpreter(void)
{
  const char *chosen = getenv(PYTHON_VARIABLE);
  if (chosen && *chosen) {
    return cpl_strdup(chosen);
  }
  Dl_info self;
  char path[PATH_MAX];
  if (dladdr((void *)interpreter, &self) && self.dli_fname && realpath(self.dli_fname, path)) {
    char *tail = strstr(path, "/" PYTHON_LIBRARY "/muse_core/plugins/");
    if (tail) {
      *tail = '\0';
      char *candidate = cpl_sprintf("%s/bin/%s", path, PYTHON_NAME);
      if (access(candidate, X_OK) == 0) {
        return candidate;
      }
      cpl_free(candidate);
    }
  }
  return cpl_strdup(PYTHON_PATH);
}

/* Makes a pipe beyond the standard streams, which the host may have closed; returns 0, or -1 with errno. */
static int make_pipe(int ends[2])
{
  if (pipe2(ends, O_CLOEXEC)) {
    return -1;
  }
  for (int i = 0; i < 2; i++) {
    if (ends[i] <= REPLY_DESCRIPTOR) {
      const int higher = fcntl(ends[i], F_DUPFD_CLOEXEC, REPLY_DESCRIPTOR + 1);
      const int status = errno;
      close(ends[i]);
      if (higher < 0) {
        close(ends[1 - i]);
        errno = status;
        return -1;
      }
      ends[i] = higher;
    }
  }
  return 0;
}

/* Starts the worker with its standard input and REPLY_DESCRIPTOR connected to the streams; returns 0 or an errno. */
static int start_worker(const char *python, pid_t *pid, FILE **request, FILE **reply)
{
  int to[2], from[2];
  if (make_pipe(to)) {
    return errno;
  }
  if (make_pipe(from)) {
    const int status = errno;
    close(to[0]);
    close(to[1]);
    return status;
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, from[1], REPLY_DESCRIPTOR);
  posix_spawnattr_t attributes;
  /* signals that ask it to end have to wait until it can clean up */
  sigset_t waiting;
  sigemptyset(&waiting);
  sigaddset(&waiting, SIGINT);
  sigaddset(&waiting, SIGTERM);
  sigaddset(&waiting, SIGHUP);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &waiting);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  /* -E: the PYTHON* variables are meant for another Python (Reflex sets PYTHONPATH); -P: nor is the current folder */
  const char *arguments[] = {python, "-E", "-P", "-m", "muse_core.frontends.worker", RECIPE_ADDRESS, "3", NULL};
  const int status = posix_spawnp(pid, python, &actions, &attributes, (char *const *)arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(to[0]);
  close(from[1]);
  if (status) {
    close(to[1]);
    close(from[0]);
    return status;
  }
  *request = fdopen(to[1], "w");
  *reply = fdopen(from[0], "r");
  return 0;
}

static int fail(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  char *text = cpl_vsprintf(format, arguments);
  va_end(arguments);
  cpl_msg_error(RECIPE_NAME, "%s", text);
  cpl_error_set_message_macro(RECIPE_NAME, CPL_ERROR_UNSPECIFIED, __FILE__, __LINE__, "%s", text);
  cpl_free(text);
  return FAILED;
}

/* For a process that was forked to execute the recipe (python-cpl, PyCPL). When the one that forked it has gone, nobody
 * waits for the recipe any more; and signals that end it do so, where python-cpl would have a debugger run for ten
 * seconds. */
static void end_at_once(void)
{
#ifdef __linux__
  if (getppid() == loader) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
#endif
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  signal(SIGHUP, SIG_DFL);
}

static int recipe_exec(cpl_plugin *plugin)
{
  if (cpl_error_get_code() != CPL_ERROR_NONE) {
    return (int)cpl_error_get_code();
  }
  cpl_recipe *recipe = (cpl_recipe *)plugin;
  if (!recipe->parameters || !recipe->frames) {
    cpl_error_set_message_macro(RECIPE_NAME, CPL_ERROR_NULL_INPUT, __FILE__, __LINE__, "no parameters or no frames");
    return FAILED;
  }
  if (getpid() != loader) {
    end_at_once();
  }
  cpl_msg_set_threadid_on();
  char *python = interpreter();
  pid_t pid;
  FILE *request = NULL, *reply = NULL;
  fflush(NULL);
  const int status = start_worker(python, &pid, &request, &reply);
  if (status) {
    fail("cannot start the Python interpreter %s: %s (set %s to another one)", python, strerror(status),
         PYTHON_VARIABLE);
    cpl_free(python);
    return FAILED;
  }
  /* a worker that dies early must not kill the host */
  struct sigaction ignore = {.sa_handler = SIG_IGN}, previous;
  sigaction(SIGPIPE, &ignore, &previous);
  send_request(request, recipe);
  fclose(request);
  const int complete = receive_reply(reply, recipe);
  hide_progress();
  fclose(reply);
  sigaction(SIGPIPE, &previous, NULL);
  int ending = 0;
  pid_t waited;
  while ((waited = waitpid(pid, &ending, 0)) < 0 && errno == EINTR) {
  }
  if (!complete) {
    if (waited == pid && WIFSIGNALED(ending)) {
      fail("the process of the recipe was killed by signal %d", WTERMSIG(ending));
    } else if (waited == pid && WIFEXITED(ending)) {
      fail("the process of the recipe (%s) ended with status %d", python, WEXITSTATUS(ending));
    } else {
      fail("the process of the recipe (%s) ended early", python);
    }
  }
  cpl_free(python);
  return cpl_error_get_code() == CPL_ERROR_NONE ? 0 : FAILED;
}

/* ---- symbols that hosts look up ---------------------------------------- */

/* Tags, calibrations and products, for python-cpl. */
EXPORT cpl_recipeconfig *muse_processing_get_recipeconfig(cpl_recipe *recipe)
{
  (void)recipe;
  cpl_recipeconfig *config = cpl_recipeconfig_new();
  for (const struct input *raw = INPUTS; raw->tag; raw++) {
    if (!raw->raw) {
      continue;
    }
    cpl_recipeconfig_set_tag(config, raw->tag, raw->minimum, raw->maximum);
    for (const struct input *calib = INPUTS; calib->tag; calib++) {
      if (!calib->raw) {
        cpl_recipeconfig_set_input(config, raw->tag, calib->tag, calib->minimum, calib->maximum);
      }
    }
    for (const char *const *tag = PRODUCTS; *tag; tag++) {
      cpl_recipeconfig_set_output(config, raw->tag, *tag);
    }
  }
  return config;
}

EXPORT int cpl_plugin_get_info(cpl_pluginlist *list)
{
  loader = getpid();
  cpl_recipe *recipe = cpl_calloc(1, sizeof *recipe);
  cpl_plugin_init(&recipe->interface, CPL_PLUGIN_API, RECIPE_VERSION, CPL_PLUGIN_TYPE_RECIPE, RECIPE_NAME,
                  RECIPE_SYNOPSIS, RECIPE_DESCRIPTION, RECIPE_AUTHOR, RECIPE_EMAIL, RECIPE_COPYRIGHT, recipe_create,
                  recipe_exec, recipe_destroy);
  cpl_pluginlist_append(list, &recipe->interface);
  return 0;
}
