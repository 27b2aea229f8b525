# What several steps take from a model: its data compressed (compression.R), its parametric bootstrap.
# Made once, under names of their own, when the first step asks for them.

# Whether refits on compressed data are to be had: always with one grouping factor, which is solved in
# closed form; with several where there are fewer rows. Otherwise why not.
uncompressed <- function(name) {
  known <- record$uncompressed[[name]]
  if (!is.null(known)) {
    return(known)
  }
  m <- get(name, envir = analysis)
  reason <- if (length(getME(m, "flist")) > 1L) compress(m)$reason
  record$uncompressed[[name]] <- if (is.null(reason)) "" else reason
  record$uncompressed[[name]]
}

# The name of a model's compressed problem; empty where it has none.
compressed <- function(name) {
  made <- paste0("compressed_", sub("^m_", "", name))
  if (nzchar(uncompressed(name))) {
    return("")
  }
  if (!have(made)) object(made, compress(M), bind = list(M = as.name(name)))
  if (have(made)) made else ""
}

# Why a model's refits are made by lme4, and the nominal seconds of a refit on compressed data.
compressed_facts <- function(name) {
  reason <- uncompressed(name)
  seconds <- if (nzchar(reason)) 0 else refit_cost(compress(get(name, envir = analysis)))
  list(reason = reason, seconds = seconds)
}

# The name of a model's parametric bootstrap; parts that ask for as many samples share it.
bootstrapped <- function(name, samples, seed) {
  made <- paste0("boot_", sub("^m_", "", name), "_", samples)
  problem <- compressed(name)
  if (!have(made)) {
    call <- if (nzchar(problem)) {
      bquote(parametric_bootstrap(.(as.name(problem)), replicates = .(samples), seed = .(seed)))
    } else {
      bquote(bootstrap_refits(.(as.name(name)), .(samples), .(seed)))
    }
    object(made, CALL, bind = list(CALL = call))
  }
  made
}

# By what the parts that rest on refits of a model are made, in words.
refits_by <- function(name) if (nzchar(compressed(name))) "on compressed data" else "by lme4"
