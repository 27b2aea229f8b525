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
  model <- is(value, "merMod") || inherits(value, "lm")
  if (!model || !nzchar(cache$last) || nobs(value) < shelf$rows) {
    assign(name, value, envir = analysis)
    return()
  }
  shelf$calls[[name]] <- call
  shelf$keys[[name]] <- cache$last
  if (is.na(cache$files[cache$last])) keep(cache$last, value, list())
  in_use(name, value)
  bind_to_shelf(name)
}

# In a function of its own, as a binding holds on to what stands beside it.
bind_to_shelf <- function(name) {
  force(name)
  makeActiveBinding(name, function() from_shelf(name), analysis)
}

from_shelf <- function(name) {
  model <- shelf$models[[name]]
  if (is.null(model)) {
    found <- recall(shelf$keys[[name]])
    model <- if (is.null(found)) eval(shelf$calls[[name]], analysis) else found$value
  }
  in_use(name, model)
}

in_use <- function(name, model) {
  others <- shelf$models[names(shelf$models) != name]
  sizes <- file.size(file.path(cache$folder, cache$files[shelf$keys[c(name, names(others))]]))
  stay <- cumsum(sizes)[-1L] <= shelf$most
  shelf$models <- c(setNames(list(model), name), others[stay %in% TRUE])
  rm(others)
  if (!all(stay %in% TRUE)) gc() # at once, as the next model needs the room
  invisible(model)
}
