# Models of large data, of which only those in use stay in memory.
#
# A fitted model holds its data and several copies of them: about 300 bytes a row where the design has
# four columns, and a report asks some twenty models. With many rows a model therefore stands on the
# shelf: its name in the analysis is bound to what the cache (cache.R) keeps of it, and the models
# that were asked for last stay in memory, up to `shelf$most` bytes, at least one. A file that is gone
# or damaged is made again by the model's call.

shelf <- new.env()

open_shelf <- function(rows, most) {
  shelf$rows <- rows
  shelf$most <- most
  shelf$calls <- list()
  shelf$keys <- character()
  shelf$models <- list() # those in memory, the last used first
}

# Give a value its name in the analysis.
hold <- function(name, value, call) {
  if (have(name)) rm(list = name, envir = analysis)
  shelf$models[[name]] <- NULL
  if (!on_shelf(value)) {
    assign(name, value, envir = analysis)
    return()
  }
  shelf$calls[[name]] <- call
  shelf$keys[[name]] <- cache$last
  in_use(name, value)
  bind_to_shelf(name)
}

# Whether a value is a large model that the cache has, or takes: its disk may be full.
on_shelf <- function(value) {
  model <- is(value, "merMod") || inherits(value, "lm")
  if (!model || !nzchar(cache$last) || nobs(value) < shelf$rows) {
    return(FALSE)
  }
  if (is.na(cache$files[cache$last])) keep(cache$last, value, list())
  !is.na(cache$files[cache$last])
}

# In a function of its own, as a binding holds on to what stands beside it.
bind_to_shelf <- function(name) {
  force(name)
  makeActiveBinding(name, function() from_shelf(name), analysis)
}

from_shelf <- function(name) {
  model <- shelf$models[[name]]
  if (is.null(model)) {
    make_room(stored_size(name))
    found <- recall(shelf$keys[[name]])
    model <- if (is.null(found)) eval(shelf$calls[[name]], analysis) else with_columns_of_d(found$value)
  }
  in_use(name, model)
}

# A model from a file whose frame has the columns of the data themselves, as it had when it was
# fitted, in the place of copies of them.
with_columns_of_d <- function(model) {
  if (is(model, "merMod")) {
    for (name in intersect(names(model@frame), names(analysis$d))) {
      column <- analysis$d[[name]]
      if (identical(model@frame[[name]], column)) model@frame[[name]] <- column
    }
  }
  model
}

stored_size <- function(names) file.size(file.path(cache$folder, cache$files[shelf$keys[names]]))

in_use <- function(name, model) {
  others <- shelf$models[names(shelf$models) != name]
  shelf$models <- c(setNames(list(model), name), others)
  rm(others)
  make_room(0)
  invisible(model)
}

# A variable `m` of the calling function that is the model of a name: it is taken off the shelf for each
# use, so that the function does not hold it while others are made.
model_as_m <- function(name) {
  makeActiveBinding("m", function() get(name, envir = analysis), parent.frame())
}

# Let go of the models that were used the longest ago, until one of `size` bytes more has its place;
# at once, as it needs the memory that they have. The one in use stays (`size` 0).
make_room <- function(size) {
  if (!length(shelf$models)) {
    return(invisible())
  }
  stay <- cumsum(stored_size(names(shelf$models))) + size <= shelf$most
  if (size == 0) stay[1L] <- TRUE
  if (all(stay %in% TRUE)) {
    return(invisible())
  }
  shelf$models <- shelf$models[stay %in% TRUE]
  clear_memory()
  invisible()
}

# Functions of Python: `trim` returns freed pages to the system, `grown` tells whether the process has
# become much larger since.
use_memory <- function(trim, grown) {
  shelf$trim <- trim
  shelf$grown <- grown
}
clear_memory <- function() {
  gc()
  shelf$trim()
}

# Before a large model is made, and after a call that took long, memory is cleared: garbage of many
# rows would otherwise add up to several times what is in use.
large_data <- function() NROW(analysis$d) >= shelf$rows
