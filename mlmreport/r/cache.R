# Values of costly calls, kept by content.
#
# The key of a call is made of its code and of the keys of the objects that it names; the key of an
# object is that of the call it came from, and that of the data is their content. So a key stands
# for all that led to a value, and a kept value is the one that the call would give again. The calls
# depend on nothing else: what is drawn at random sets its seed in the call.

cache <- new.env()
cache$folder <- ""

# `columns` are the keys of the data's columns, `salt` that of R, its packages and our definitions;
# a call that takes less than `costly` seconds is not worth a file.
open_cache <- function(folder, salt, columns, fresh, costly) {
  cache$folder <- folder
  cache$salt <- salt
  cache$costly <- costly
  cache$columns <- columns
  cache$keys <- character()
  cache$last <- ""
  cache$files <- character()
  cache$sound <- character() # keys of the files that this run has checked
  if (nzchar(folder) && !fresh) {
    files <- list.files(folder, "^[0-9a-f]{32}-[0-9a-f]{32}[.]rds$")
    cache$files <- setNames(files, substr(files, 1L, 32L))
  }
  cache$scratch <- tempfile()
  invisible(TRUE)
}

# Empty where the file cannot be written as a whole: what is left of it would stand for other texts too.
digest_of <- function(text) {
  text <- enc2utf8(text)
  written <- tryCatch({
    writeLines(text, cache$scratch, useBytes = TRUE)
    file.size(cache$scratch) >= sum(nchar(text, "bytes") + 1)
  }, error = function(e) FALSE)
  if (isTRUE(written)) unname(tools::md5sum(cache$scratch)) else ""
}

content_key <- function(call) {
  if (!nzchar(cache$folder)) {
    return("")
  }
  named <- intersect(all.names(call, unique = TRUE), names(cache$keys))
  digest_of(c(cache$salt, code_text(call), paste(named, cache$keys[named]), data_key(call)))
}

# A model rests on the columns it names, so that another column for another model leaves it as it
# is; any other call may rest on all, by way of `update`.
data_key <- function(call) {
  if (is.call(call) && deparse1(call[[1L]]) %in% c("lmer", "lmer_at")) {
    named <- intersect(all.vars(call), names(cache$columns))
    return(paste(named, cache$columns[named]))
  }
  paste(names(cache$columns), cache$columns)
}

# Environments that are not part of a value: they are there already when it is read.
outward <- function(x) {
  if (identical(x, analysis)) {
    "analysis"
  } else if (identical(x, environment(outward))) {
    "definitions"
  }
}
inward <- function(name) {
  switch(name, analysis = analysis, definitions = environment(inward))
}

# What was kept under a key: a list of the value and of what R said; NULL where there is nothing
# sound.
recall <- function(key) {
  file <- cache$files[key]
  if (!nzchar(key) || is.na(file)) {
    return(NULL)
  }
  path <- file.path(cache$folder, file)
  sound <- key %in% cache$sound || identical(unname(tools::md5sum(path)), substr(file, 34L, 65L)[[1L]])
  found <- if (sound) tryCatch(readRDS(path, refhook = inward), error = function(e) NULL)
  if (is.null(found)) {
    unlink(path)
  } else {
    Sys.setFileTime(path, Sys.time())
    cache$sound <- union(cache$sound, key) # a model is read again and again, see shelf.R
  }
  found
}

keep <- function(key, value, said) {
  path <- tempfile("new-", cache$folder)
  # A cache that cannot be written to costs time, not the analysis.
  tryCatch({
    saveRDS(list(value = value, said = said), path, compress = FALSE, refhook = outward)
    file <- paste0(key, "-", tools::md5sum(path), ".rds")
    file.rename(path, file.path(cache$folder, file))
    cache$files[[key]] <- file
  }, error = function(e) unlink(path), warning = function(w) unlink(path))
}
