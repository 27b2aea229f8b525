# Work that other processes take over: blocks of a loop (over_blocks), and calls sent ahead of the
# place where their values are asked for.
#
# A task is a function of this folder with its arguments, serialised as values are for the cache
# (cache.R): the definitions and the analysis stay where they are, as a worker has its own. Python
# (engine/workers.py) takes it there and back. A task that no worker has begun when its value is
# wanted is done here, and so is one whose worker died: values never depend on who made them.

workers <- new.env()

# Functions of Python reach the workers:
#   count()            how many there are
#   share(raw)         takes what the tasks that follow have in common
#   submit(raw)        gives the number of a task
#   withdraw(task)     whether it was taken back before it was begun
#   drop(first, last)  takes back whatever is left of some tasks
#   collect(task)      its value as raw; while there is none, whether it is lost with its worker
#   tell(done, of)     takes how far a loop has come
use_workers <- function(count, share, submit, withdraw, drop, collect, tell) {
  workers$count <- count()
  workers$share <- share
  workers$submit <- submit
  workers$withdraw <- withdraw
  workers$drop <- drop
  workers$collect <- collect
  workers$tell <- tell
  workers$ahead <- list()
  options(over_blocks = beside_workers)
  invisible(TRUE)
}

packed <- function(x) serialize(x, NULL, xdr = FALSE, refhook = outward)
unpacked <- function(raw) unserialize(raw, refhook = inward)

# The loop of over_blocks(): the first block that nobody has begun is computed here, again and again,
# while the workers do the same.
beside_workers <- function(blocks, f, ..., enough) {
  tasks <- if (workers$count && length(blocks) > 1L) sent(blocks, f, list(...))
  on.exit(if (length(tasks)) workers$drop(tasks[[1L]], tasks[[length(tasks)]]))
  here <- function(k) {
    if (large_data()) clear_memory() # of what led to the loop, and of the block before
    observed(f(blocks[[k]], ...))
  }
  found <- vector("list", length(blocks))
  values <- list()
  while (length(values) < length(blocks) && !enough(values)) {
    following <- length(values) + 1L
    if (is.null(found[[following]])) {
      found <- one_turn(found, tasks, here)
      workers$tell(sum(lengths(found) > 0L), length(blocks))
    } else {
      values[following] <- list(said_again(found[[following]]))
    }
  }
  values
}

# What was found by now and one block more: the first of those that workers have finished or, where
# there is none, that nobody has begun.
one_turn <- function(found, tasks, here) {
  open <- which(lengths(found) == 0L)
  if (is.null(tasks)) {
    return(replace(found, open[1L], list(here(open[1L]))))
  }
  for (k in open) {
    again <- function() here(k)
    value <- collected(tasks[[k]], again)
    if (is.null(value) && workers$withdraw(tasks[[k]])) value <- again()
    if (!is.null(value)) {
      return(replace(found, k, list(value)))
    }
  }
  Sys.sleep(0.005) # heeds Ctrl-C
  found
}

sent <- function(blocks, f, args) {
  workers$share(packed(list(f = utils::removeSource(f), args = args)))
  lapply(blocks, function(block) workers$submit(packed(block)))
}

# What a worker has found, NULL as long as it is at it; `again()` where it died.
collected <- function(task, again) {
  found <- workers$collect(task)
  if (is.raw(found)) unpacked(found) else if (found) again()
}

# The value of what was observed; what R said, and an error, are raised as if they came from here.
said_again <- function(found) {
  for (said in found$said) {
    switch(said$kind,
      warning = warning(said$text, call. = FALSE), message = message(said$text),
      deprecation = warning(warningCondition(said$text, class = "deprecatedWarning"))
    )
  }
  if (inherits(found$value, "error")) stop(found$value)
  found$value
}

# --- calls sent ahead -----------------------------------------------------------------------------

# Whether calls are sent ahead; models of large data, which do not stay in memory (shelf.R), stay
# where they are.
sends_ahead <- function() workers$count && nrow(analysis$d) < shelf$rows

# Send calls that will be evaluated later; the objects that they name do not change until then.
send_ahead <- function(calls) {
  if (!sends_ahead()) {
    return(invisible())
  }
  calls <- Filter(function(call) is.na(cache$files[content_key(call)]), calls)
  tasks <- sent(calls, evaluated, list(objects = mget(objects_of(calls), analysis)))
  for (k in seq_along(calls)) {
    workers$ahead[[code_text(calls[[k]])]] <- list(call = calls[[k]], task = tasks[[k]])
  }
}

# The names in calls of what is in the analysis, and in the calls of the models among them.
objects_of <- function(calls) {
  named <- intersect(unlist(lapply(calls, all.names)), ls(analysis))
  models <- Filter(function(name) is(analysis[[name]], "merMod"), named)
  inside <- unlist(lapply(models, function(name) all.names(analysis[[name]]@call)))
  intersect(c(named, inside), ls(analysis))
}

# On a worker: the value of a call, given what it names.
evaluated <- function(call, objects) {
  rm(list = ls(analysis), envir = analysis)
  eval(call, list2env(objects, analysis))
}

# What a call sent ahead gave; NULL where it is to be evaluated here.
made_ahead <- function(call) {
  if (!length(workers$ahead)) {
    return(NULL)
  }
  code <- code_text(call)
  known <- workers$ahead[[code]]
  workers$ahead[[code]] <- NULL
  if (is.null(known) || !is.null(known$found) || workers$withdraw(known$task)) {
    return(known$found)
  }
  while (isFALSE(found <- workers$collect(known$task))) another_ahead()
  if (is.raw(found)) unpacked(found)
}

# While a worker is at a call: one that nobody has begun is evaluated here.
another_ahead <- function() {
  other <- Find(function(it) is.null(it$found) && workers$withdraw(it$task), workers$ahead)
  if (is.null(other)) {
    Sys.sleep(0.005)
  } else {
    workers$ahead[[code_text(other$call)]]$found <- observed(eval(other$call, analysis))
  }
}

# --- on a worker ----------------------------------------------------------------------------------

# Take what tasks have in common, then each task's own.
take_share <- function(raw) {
  share <- unpacked(raw)
  workers$frame <- list2env(share$args, parent = baseenv())
  workers$frame$.f <- share$f
  # The arguments by name: a call that holds their values would make an error message of them.
  arguments <- lapply(setNames(nm = names(share$args)), as.name)
  workers$call <- as.call(c(list(as.name(".f"), as.name(".block")), arguments))
  invisible(TRUE)
}
do_task <- function(raw) {
  workers$frame$.block <- unpacked(raw)
  packed(observed(eval(workers$call, workers$frame)))
}
