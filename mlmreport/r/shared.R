# What several steps take from a model: its data compressed (compression.R), its parametric bootstrap.
# Made once, under names of their own, when the first step asks for them.

# A model as an object. Where lme4's own search is predicted to take more than a second and the data
# compress, theta is found on the compressed data and lme4 builds the model there (lmer_at): `call` is
# one of lmer. What fails by that way is fitted by lme4 from its own start, with `failing` as in object().
# `by` is an optimizer of lme4 that is to search in the place of ours.
model_object <- function(name, call, by = "", failing = "error") {
  if (large_data()) make_room(Inf)
  searched <- observed(call_at_optimum(call, by))
  if (large_data()) clear_memory()
  for (said in searched$said) note_text(name, said$kind, said$text)
  if (inherits(searched$value, "error")) note_condition(name, "warning", searched$value)
  ahead <- if (is.call(searched$value)) searched$value
  if (!is.null(ahead)) {
    object(name, CALL, bind = list(CALL = ahead), failing = "warning")
    rm(list = ls(designs), envir = designs)
  }
  if (is.null(ahead) || !have(name)) object(name, CALL, bind = list(CALL = call), failing = failing)
}

# The call of lmer_at in the place of one of lmer; NULL where lme4 is to search for itself.
call_at_optimum <- function(call, by = "") {
  call <- match.call(lme4::lmer, call)
  data <- eval(call$data, analysis)
  if (nrow(data) < 5000L || scattered(call$formula, data)) {
    return(NULL)
  }
  key <- if (nzchar(cache$folder)) digest_of(c(content_key(call), "at its optimum", by)) else ""
  known <- recall(key)
  if (!is.null(known)) {
    return(said_again(known))
  }
  design <- tryCatch(
    suppressMessages(suppressWarnings(design_of(call, analysis))), error = function(e) NULL
  )
  k <- length(design$reTrms$theta)
  if (170e-9 * length(design$reTrms$Zt@x) * (20 * k + 2 * k^2) < 1) {
    return(NULL) # see fit_cost; this also where lme4 is to say what is wrong with the call
  }
  if (large_data()) clear_memory()
  searched <- observed(optimum_of(design, by = by))
  found <- said_again(searched)
  ahead <- if (is.null(found$reason)) {
    keep_design(call, design, found$problem)
    call[[1L]] <- as.name("lmer_at")
    call$theta <- found$fit$theta
    call
  }
  if (nzchar(key)) keep(key, ahead, searched$said)
  ahead
}

# Whether most combinations of the groups of a formula have a row or two, so that the data cannot
# compress (see compressed_rows), found in a fiftieth of the time that a design would take to show it.
scattered <- function(formula, data) {
  groups <- tryCatch(
    lapply(find_bars(formula[[3L]]), function(bar) as.integer(eval(bar[[3L]], data, analysis))),
    error = function(e) NULL # lme4 is to say what is wrong
  )
  length(groups) > 1L && 2 * length(unique(joint_codes(groups))) > nrow(data)
}

# Whether the search of a model was made on compressed data.
found_ahead <- function(m) identical(m@optinfo$message, "theta from compressed rows")

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

# The name of the problem on which a model's likelihood is profiled: the compressed one or, where the data
# do not compress, that of all rows, but for a model by ML, which lme4's own profile() takes: empty.
profiled <- function(name) {
  found <- compressed(name)
  if (nzchar(found) || !by_reml(name)) {
    return(found)
  }
  made <- paste0("rows_", sub("^m_", "", name))
  if (!have(made)) object(made, compress(M), bind = list(M = as.name(name)))
  made
}
profiled_on <- function(name) {
  if (nzchar(compressed(name))) "on compressed data" else if (by_reml(name)) "on all rows" else "by lme4"
}

by_reml <- function(name) isREML(get(name, envir = analysis))
likelihood_of <- function(reml) if (reml) "REML" else "ML"

# By what the parts that rest on refits of a model are made, in words.
refits_by <- function(name) if (nzchar(compressed(name))) "on compressed data" else "by lme4"

# Two models' likelihood ratio in a call: each model is out of use when its log-likelihood is had.
ratio_of <- function(smaller, larger) {
  models <- list(A = as.name(smaller), B = as.name(larger))
  c(models, RATIO = resolve(quote(likelihood_ratio(logLik(A), logLik(B))), models))
}

# A model fitted beside the sequence, with the optimizer of the model `of`; what lme4 has against it, or
# nothing.
side_fit <- function(name, of, formula, reml, data = quote(d)) {
  call <- lmer_call(formula, reml, data = data)
  call$control <- get(of, envir = analysis)@call$control
  model_object(name, call)
  settle(name)
}

# A model fitted again by other optimizers; where its theta was found on compressed data, theirs is.
refit_each <- function(names, m, optimizers) {
  call <- call_found_ahead(as.character(m))
  if (!is.null(call)) {
    for (k in seq_along(names)) {
      call$control <- control_call(optimizers[k])
      model_object(names[k], call, optimizers[k], "warning")
    }
    return(invisible())
  }
  calls <- lapply(optimizers, function(optimizer) {
    bquote(update(.(m), control = .(control_call(optimizer))))
  })
  send_ahead(calls[-1L]) # the first is made here meanwhile
  for (k in seq_along(calls)) {
    object(names[k], CALL, bind = list(CALL = calls[[k]]), failing = "warning")
  }
}

# The call of lmer by name of the model; NULL where theta was not found on compressed data.
call_found_ahead <- function(name) {
  m <- get(name, envir = analysis)
  if (found_ahead(m)) call_of(m)
}

# The call of lmer that a model stands for, its formula as code.
call_of <- function(m) {
  call <- m@call
  call$formula <- str2lang(deparse1(formula(m)))
  call
}

# Of a fit that lme4 complains of the refit with the highest log-likelihood over lme4's optimizers
# takes the name; what lme4 has against that one, or nothing.
settle <- function(name) {
  if (!have(name) || !length(complaints(get(name, envir = analysis)))) {
    return("")
  }
  model_as_m(name)
  others <- setdiff(c("nloptwrap", "bobyqa", "Nelder_Mead"), if (!found_ahead(m)) m@optinfo$optimizer)
  refits <- paste0(name, "_", others)
  refit_each(refits, as.name(name), others)
  fits <- c(name, refits[vapply(refits, have, FALSE)])
  logliks <- vapply(fits, function(fit) as.numeric(logLik(get(fit, envir = analysis))), 0)
  best <- fits[which.max(logliks)]
  if (best != name) object(name, BEST, bind = list(BEST = as.name(best)))
  paste(complaints(m), collapse = "; ")
}
