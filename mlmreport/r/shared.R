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

# A model fitted beside the sequence, with the optimizer of `m`; what lme4 has against it, or nothing.
side_fit <- function(name, m, formula, reml, data = quote(d)) {
  call <- lmer_call(formula, reml, data = data)
  call$control <- m@call$control
  object(name, CALL, bind = list(CALL = call))
  settle(name)
}

# Of a fit that lme4 complains of the refit with the highest log-likelihood over lme4's optimizers
# takes the name; what lme4 has against that one, or nothing.
settle <- function(name) {
  if (!have(name) || !length(complaints(get(name, envir = analysis)))) {
    return("")
  }
  m <- get(name, envir = analysis)
  others <- setdiff(c("nloptwrap", "bobyqa", "Nelder_Mead"), m@optinfo$optimizer)
  refits <- paste0(name, "_", others)
  for (k in seq_along(others)) {
    object(
      refits[k], update(M, control = lmerControl(optimizer = OPT)),
      bind = list(M = as.name(name), OPT = others[k]), failing = "warning"
    )
  }
  fits <- mget(c(name, refits[vapply(refits, have, FALSE)]), envir = analysis)
  best <- names(fits)[which.max(vapply(fits, function(m) as.numeric(logLik(m)), 0))]
  if (best != name) object(name, BEST, bind = list(BEST = as.name(best)))
  paste(complaints(fits[[best]]), collapse = "; ")
}
