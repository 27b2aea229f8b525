# The models of an analysis by other engines, and by every optimizer of lme4.
#
# Each fit comes back as plain values under names that all engines share: `fixef/TERM`,
# `var/GROUPING/EFFECT`, `cov/GROUPING/EFFECT/EFFECT` and `sigma2`. Variances and covariances are
# compared, as engines differ in how they parametrise them.

crosscheck_name <- function(id) paste0("cross_", id)

# Fit a model by one optimizer of lme4, or take its fit by another one; later functions go by `id`.
# `method` is for optimizers that are families of methods ("optimx", "nloptwrap").
crosscheck_lme4 <- function(id, formula, reml, optimizer, method = "") {
  control <- if (!nzchar(method)) {
    bquote(lmerControl(optimizer = .(optimizer)))
  } else if (optimizer == "optimx") {
    bquote(lmerControl(optimizer = "optimx", optCtrl = list(method = .(method))))
  } else {
    bquote(lmerControl(optimizer = .(optimizer), optCtrl = list(algorithm = .(method))))
  }
  call <- lmer_call(str2lang(formula), reml, control = control)
  fitted_by({
    m <- eval(call, analysis)
    assign(crosscheck_name(paste0(id, "_", optimizer, method)), m, envir = analysis)
    described_lme4(m)
  })
}

# Whether packages are there, for optimizers that come with one.
crosscheck_installed <- function(packages) {
  list(installed = vapply(packages, function(p) !nzchar(p) || nzchar(system.file(package = p)), FALSE))
}

# Let a fit already made be the model `id`.
crosscheck_choose <- function(id, optimizer) {
  m <- get(crosscheck_name(paste0(id, "_", optimizer)), envir = analysis)
  assign(crosscheck_name(id), m, envir = analysis)
  list(errors = named_list(component_errors(m)), joint = named_list(joint_errors(m)))
}

crosscheck_engine <- function(engine, id) {
  m <- get(crosscheck_name(id), envir = analysis)
  switch(engine,
    nlme = by_nlme(m),
    glmmTMB = by_glmmtmb(m)
  )
}

# --- what a fit gives ---------------------------------------------------------------------------

named_list <- function(x) setNames(as.list(x), names(x))

# Evaluate a fit; what the engine says on the way, and why there is none, as text.
fitted_by <- function(expr) {
  said <- character()
  note <- function(condition) {
    if (kind_of(condition, "said") == "said") said <<- c(said, words_of(condition))
  }
  found <- tryCatch(
    withCallingHandlers(
      expr,
      warning = function(w) {
        note(w)
        invokeRestart("muffleWarning")
      },
      message = function(m) {
        note(m)
        invokeRestart("muffleMessage")
      }
    ),
    not_applicable = function(e) list(status = "not applicable", reason = conditionMessage(e)),
    error = function(e) list(status = "failed", reason = gsub("\\s+", " ", conditionMessage(e)))
  )
  found$said <- unique(said)
  found
}

not_applicable <- function(...) {
  stop(structure(list(message = paste0(...), call = NULL), class = c("not_applicable", "error", "condition")))
}

described <- function(fixed, covariance, components, criterion, parameters, aic, bic, df = NULL) {
  finite <- function(x) named_list(x[is.finite(x)])
  list(
    status = "fitted", reason = "",
    estimates = finite(c(setNames(fixed, paste0("fixef/", names(fixed))), components)),
    errors = finite(setNames(sqrt(pmax(diag(as.matrix(covariance)), 0)), paste0("fixef/", names(fixed)))),
    criteria = finite(c(loglik = as.numeric(criterion), aic = as.numeric(aic), bic = as.numeric(bic))),
    parameters = parameters,
    df = if (is.null(df)) list() else finite(setNames(df, paste0("fixef/", names(fixed))))
  )
}

described_lme4 <- function(m) {
  found <- described(
    fixef(m), vcov(m), components_lme4(m), logLik(m), attr(logLik(m), "df"), AIC(m), BIC(m)
  )
  c(found, list(
    singular = isSingular(m), complaints = complaints(m), dropped = fit_facts(m)$dropped,
    nobs = nobs(m), reml = isREML(m)
  ))
}

# Variances, and covariances with the earlier effects, of one block.
block_components <- function(block, group, correlated = TRUE) {
  effects <- rownames(block)
  found <- setNames(diag(block), paste("var", group, effects, sep = "/"))
  for (i in seq_along(effects)) {
    for (j in seq_len(i - 1L)) {
      found[[paste("cov", group, effects[j], effects[i], sep = "/")]] <- block[i, j]
    }
  }
  if (correlated) found else found[block_is_variance(found)]
}
block_is_variance <- function(found) startsWith(names(found), "var/")

components_lme4 <- function(m) {
  blocks <- Map(block_components, lapply(VarCorr(m), as.matrix), block_groups(m))
  c(do.call(c, unname(blocks)), sigma2 = sigma(m)^2)
}

# --- nlme ---------------------------------------------------------------------------------------

by_nlme <- function(m) {
  fitted_by({
    need_package("nlme")
    if (length(attr(getME(m, "X"), "col.dropped"))) {
      not_applicable("lme() does not leave out collinear columns, as lme4 did here")
    }
    nesting <- nested_order(m)
    if (is.null(nesting)) {
      not_applicable("lme() has nested groupings only, and these are crossed")
    }
    data <- model_data(m)
    data$.outcome <- getME(m, "y") - getME(m, "offset")
    data$.spread <- 1 / weights(m)
    flist <- getME(m, "flist")
    for (k in seq_along(nesting)) data[[paste0(".g", k)]] <- flist[[nesting[k]]]
    labels <- attr(terms(without_bars(formula(m))), "term.labels")
    fixed <- reformulate(
      if (length(labels)) labels else "1", ".outcome",
      intercept = attr(terms(without_bars(formula(m))), "intercept") == 1
    )
    random <- setNames(lapply(nesting, nlme_structure, m = m), paste0(".g", seq_along(nesting)))
    fit <- lme_fit(fixed, data, random, isREML(m), any(data$.spread != 1))
    blocks <- lapply(fit$modelStruct$reStruct, function(part) nlme::pdMatrix(part) * fit$sigma^2)
    components <- Map(
      block_components, blocks[names(random)], nesting,
      vapply(nesting, function(g) sum(block_groups(m) == g) == 1L, FALSE)
    )
    components <- c(do.call(c, unname(components)), sigma2 = fit$sigma^2)
    components <- components[names(components) %in% names(components_lme4(m))]
    described(
      nlme::fixef(fit), vcov(fit), components, logLik(fit), attr(logLik(fit), "df"), AIC(fit),
      BIC(fit), fit$fixDF$X
    )
  })
}

need_package <- function(package) {
  if (!requireNamespace(package, quietly = TRUE)) {
    not_applicable("the R package ", package, " is not installed")
  }
}

# nlminb first, BFGS where it fails.
lme_fit <- function(fixed, data, random, reml, weighted) {
  arguments <- list(
    fixed = fixed, data = data, random = random, method = if (reml) "REML" else "ML",
    weights = if (weighted) nlme::varFixed(~.spread)
  )
  control <- function(opt) {
    nlme::lmeControl(
      opt = opt, maxIter = 500, msMaxIter = 500, niterEM = 50, msTol = 1e-10, tolerance = 1e-8
    )
  }
  attempt <- function(opt) do.call(nlme::lme, c(arguments, list(control = control(opt))))
  tryCatch(attempt("nlminb"), error = function(e) attempt("optim"))
}

# The groupings from the coarsest to the finest, each within the one before; NULL if some are crossed.
nested_order <- function(m) {
  flist <- getME(m, "flist")
  order <- names(flist)[order(vapply(flist, nlevels, 1L))]
  for (k in seq_along(order)[-1L]) {
    if (!is_nested(flist[[order[k]]], flist[[order[k - 1L]]])) {
      return(NULL)
    }
  }
  order
}

# The random effects of a grouping: one block a term, uncorrelated with each other.
nlme_structure <- function(m, group) {
  own <- block_groups(m) == group
  parts <- lapply(ordered_bars(m)[own], function(bar) nlme::pdSymm(reformulate_bar(bar)))
  if (length(parts) == 1L) parts[[1L]] else nlme::pdBlocked(parts)
}

reformulate_bar <- function(bar) as.formula(call("~", bar[[2L]]), env = globalenv())

# The terms with bars in the order of VarCorr().
ordered_bars <- function(m) {
  bars <- find_bars(single_bars(formula(m)))
  written <- vapply(bars, function(bar) paste(deparse(bar, 500L), collapse = ""), "")
  bars[match(names(getME(m, "mmList")), written)]
}

model_data <- function(m) {
  data <- eval(m@call$data, analysis)
  kept <- droplevels(data)
  # A factor loses its contrasts with its unused levels.
  for (name in names(data)) attr(kept[[name]], "contrasts") <- attr(data[[name]], "contrasts")
  kept
}

# --- glmmTMB ------------------------------------------------------------------------------------

by_glmmtmb <- function(m) {
  fitted_by({
    need_package("glmmTMB")
    if (any(weights(m) != 1)) {
      not_applicable("the weights of glmmTMB() count rows; those of lme4 are precisions")
    }
    if (length(attr(getME(m, "X"), "col.dropped"))) {
      not_applicable("glmmTMB() does not leave out collinear columns, as lme4 did here")
    }
    fit <- glmmtmb_fit(single_bars(formula(m)), model_data(m), isREML(m))
    blocks <- lapply(glmmTMB::VarCorr(fit)$cond, function(v) matrix(v, nrow(v), dimnames = dimnames(v)))
    components <- Map(block_components, blocks, fit$modelInfo$grpVar)
    criterion <- -fit$fit$objective
    k <- attr(logLik(fit), "df")
    described(
      glmmTMB::fixef(fit)$cond, vcov(fit)$cond,
      c(do.call(c, unname(components)), sigma2 = glmmTMB::sigma(fit)^2), criterion, k,
      -2 * criterion + 2 * k, -2 * criterion + k * log(nobs(m))
    )
  })
}

# nlminb first; BFGS too where its Hessian is not positive definite, and the better of both.
glmmtmb_fit <- function(formula, data, reml) {
  attempt <- function(...) {
    glmmTMB::glmmTMB(formula, data, REML = reml, control = glmmTMB::glmmTMBControl(...))
  }
  first <- attempt()
  if (first$sdr$pdHess) {
    return(first)
  }
  second <- attempt(optimizer = optim, optArgs = list(method = "BFGS"))
  if (second$fit$value < first$fit$objective) {
    second$fit$objective <- second$fit$value
    return(second)
  }
  first
}

# --- what statsmodels is handed -------------------------------------------------------------------

# Outcome, design matrix and random effects' matrices, rows scaled by the root of their weights;
# `nested` are the groupings from the coarsest down, none if they are crossed.
crosscheck_design <- function(id) {
  m <- get(crosscheck_name(id), envir = analysis)
  nesting <- nested_order(m)
  list(
    fixed = names(fixef(m)), effects = unname(lapply(getME(m, "cnms"), as.character)),
    groups = block_groups(m), nested = if (is.null(nesting)) character() else nesting,
    log_weights = sum(log(weights(m)))
  )
}

crosscheck_matrices <- function(id) {
  m <- get(crosscheck_name(id), envir = analysis)
  scale <- row_scale(m)
  columns <- c(
    list(scaled_outcome(m)), vectors_of(scaled_fixed(m)),
    do.call(c, lapply(unname(getME(m, "mmList")), function(z) vectors_of(z * scale)))
  )
  names(columns) <- paste0("v", seq_along(columns))
  groups <- lapply(getME(m, "flist"), as.integer)
  as.data.frame(c(columns, setNames(groups, paste0("g", seq_along(groups)))))
}

# --- singular fits --------------------------------------------------------------------------------

# Of a singular fit: the dimensions of each grouping, what is zero, and the fixed effects without it.
crosscheck_singular <- function(id) {
  m <- get(crosscheck_name(id), envir = analysis)
  groupings <- unique(block_groups(m))
  pca <- lapply(groupings, function(g) rePCA(m)[[g]])
  simpler <- without_zeros(m)
  refit <- if (is.null(simpler)) NULL else refit_by_formula(m, simpler)
  list(
    groupings = groupings,
    dimensions = vapply(pca, function(p) sum(p$sdev^2 > 1e-4 * sum(p$sdev^2)), 0L),
    effects = vapply(pca, function(p) length(p$sdev), 0L),
    zero = vapply(groupings, zero_component, "", m = m),
    simpler = if (is.null(simpler)) "" else paste(deparse(simpler, 500L), collapse = " "),
    terms = names(fixef(m)),
    shift = if (is.null(refit)) {
      numeric()
    } else {
      unname((fixed_of(refit)[names(fixef(m))] - fixef(m)) / fixed_errors_of(m))
    },
    ratio = if (is.null(refit)) {
      numeric()
    } else {
      unname(fixed_errors_of(refit)[names(fixef(m))] / fixed_errors_of(m))
    }
  )
}

fixed_errors_of <- function(fit) sqrt(diag(as.matrix(vcov(fit))))
fixed_of <- function(fit) if (inherits(fit, "merMod")) fixef(fit) else coef(fit)

# Effects of a block whose relative SD is zero to lme4's own tolerance for singular fits.
zero_effects <- function(m, k) {
  block <- as.matrix(VarCorr(m)[[k]])
  rownames(block)[sqrt(diag(block)) < 1e-4 * sigma(m)]
}

# What has no variance in a grouping, in words.
zero_component <- function(m, group) {
  own <- which(block_groups(m) == group)
  zeros <- unlist(lapply(own, zero_effects, m = m))
  if (length(zeros)) {
    return(paste("the variance of", paste(zeros, collapse = " and of ")))
  }
  said <- lapply(own, function(k) {
    block <- as.matrix(VarCorr(m)[[k]])
    parts <- eigen(block / sigma(m)^2, symmetric = TRUE)
    if (min(parts$values) > 1e-4 * max(parts$values)) {
      return(NULL)
    }
    weights <- parts$vectors[, ncol(block)]
    weights <- weights / weights[which.max(abs(weights))]
    paste("the combination", paste(sprintf("%.2f x %s", weights, rownames(block)), collapse = " + "))
  })
  paste(unlist(said), collapse = "; ")
}

# The formula without effects of no variance, or with their correlations at zero where all have some.
without_zeros <- function(m) {
  bars <- ordered_bars(m)
  zeros <- lapply(seq_along(bars), zero_effects, m = m)
  apart <- !length(unlist(zeros))
  kept <- unlist(Map(simpler_bars, bars, zeros, apart = apart))
  fixed <- without_bars(formula(m))
  if (!is.call(fixed) || length(fixed) < 3L) {
    return(NULL)
  }
  rhs <- Reduce(function(left, bar) call("+", left, call("(", bar)), kept, fixed[[3L]])
  as.formula(call("~", fixed[[2L]], rhs), env = analysis)
}

simpler_bars <- function(bar, zeros, apart) {
  parts <- terms(as.formula(call("~", bar[[2L]]), env = globalenv()))
  labels <- attr(parts, "term.labels")
  intercept <- attr(parts, "intercept") == 1 && !"(Intercept)" %in% zeros
  labels <- setdiff(labels, zeros)
  written <- c(if (intercept) "1", lapply(labels, function(label) paste0("0 + ", label)))
  if (!apart) {
    written <- if (length(labels) || intercept) {
      list(paste(c(if (intercept) "1" else "0", labels), collapse = " + "))
    }
  }
  lapply(written, function(text) call("|", str2lang(text), bar[[3L]]))
}

refit_by_formula <- function(m, formula) {
  if (!length(find_bars(formula))) {
    call <- bquote(lm(.(formula), data = d))
    if (weighted()) call$weights <- as.name(record$weights)
    return(eval(call, analysis))
  }
  call <- m@call
  call$formula <- formula
  tryCatch(suppressMessages(suppressWarnings(eval(call, analysis))), error = function(e) NULL)
}

# --- a model as others may have fitted it ---------------------------------------------------------

# All numbers that a paper prints of a model, fitted to `data`; `coding` are matrices of contrasts
# by column, each a list of rows and the names of its columns; `optimizers` are tried as best_fit()
# says; `ddf` is empty where no tests are asked for.
crosscheck_values <- function(data, formula, reml, coding, optimizers, always, tolerance, ddf, level) {
  room <- new.env(parent = analysis)
  for (column in names(coding)) {
    rows <- coding[[column]]
    coded <- matrix(unlist(rows$values), nrow = nlevels(data[[column]]), byrow = TRUE)
    colnames(coded) <- unlist(rows$names)
    contrasts(data[[column]], how.many = ncol(coded)) <- coded
  }
  assign("d", data, envir = room)
  fitted_by({
    m <- best_fit(formula, reml, room, optimizers, always, tolerance)
    list(
      status = "fitted", reason = "", rows = nobs(m), values = named_list(printed_of(m, ddf, level))
    )
  })
}

# The fit that a report reports: that of the first optimizer, unless, where there is doubt of it or
# `always`, the log-likelihood of another is higher by more than `tolerance`; of equal ones one that
# lme4 does not complain of.
best_fit <- function(formula, reml, room, optimizers, always, tolerance) {
  by <- function(optimizer) eval(call_of_model(formula, reml, optimizer), room)
  first <- by(optimizers[[1L]])
  if (!always && !isSingular(first) && !length(complaints(first))) {
    return(first)
  }
  others <- lapply(optimizers[-1L], function(optimizer) {
    tryCatch(suppressMessages(suppressWarnings(by(optimizer))), error = function(e) NULL)
  })
  others <- Filter(Negate(is.null), others)
  gain <- vapply(others, function(m) as.numeric(logLik(m)), 0) - as.numeric(logLik(first))
  highest <- max(gain, 0)
  if (highest <= tolerance) {
    return(first)
  }
  equal <- which(gain >= highest - tolerance)
  complained <- vapply(others[equal], function(m) length(complaints(m)) > 0L, FALSE)
  others[[equal[order(complained, -gain[equal])[1L]]]]
}

printed_of <- function(m, ddf, level) {
  components <- components_lme4(m)
  variances <- components[startsWith(names(components), "var/")]
  errors <- component_errors(m)
  names(errors) <- paste0(names(errors), rep("/se", length(errors)))
  sds <- setNames(sqrt(variances), sub("^var/", "sd/", names(variances)))
  # The delta method: a square root's standard error.
  sd_errors <- errors[paste0(names(variances), "/se")] / (2 * sqrt(variances))
  names(sd_errors) <- paste0(names(sds), "/se")
  groups <- block_groups(m)
  correlations <- do.call(c, unname(Map(block_correlations, VarCorr(m), groups)))
  intercepts <- variances[endsWith(names(variances), "/(Intercept)")]
  found <- c(
    components, sds, correlations, errors, sd_errors,
    sigma = sigma(m), "sigma/se" = unname(errors["sigma2/se"]) / (2 * sigma(m)),
    setNames(
      intercepts / (sum(intercepts) + sigma(m)^2),
      sub("^var/(.*)/[^/]*$", "icc/\\1", names(intercepts))
    ),
    icc_adjusted = icc_adjusted(m), icc_unadjusted = icc_unadjusted(m),
    loglik = as.numeric(logLik(m)), deviance = -2 * as.numeric(logLik(m)), aic = AIC(m),
    bic = BIC(m), nobs = nobs(m), parameters = attr(logLik(m), "df"), fixed = length(fixef(m)),
    setNames(ngrps(m), paste0("ngroups/", names(ngrps(m)))),
    log_det = as.numeric(determinant(crossprod(getME(m, "X")))$modulus),
    joint_errors(m), fixed_values(m, ddf, level)
  )
  found[is.finite(found)]
}

joint_errors <- function(m) {
  errors <- joint_fixed_errors(m)
  setNames(errors, paste("fixef", names(errors), "se_joint", sep = "/", recycle0 = TRUE))
}

block_correlations <- function(block, group) {
  r <- attr(block, "correlation")
  names_ <- lower_names(block, group)
  values <- setNames(r[lower.tri(r, TRUE)], sub("^cov/", "cor/", names_))
  values[startsWith(names(values), "cor/")]
}

fixed_values <- function(m, ddf, level) {
  table <- cbind(estimate = fixef(m), se = fixed_errors_of(m))
  table <- cbind(table, t = table[, "estimate"] / table[, "se"])
  if (nzchar(ddf)) {
    tests <- if (ddf == "asymptotic") {
      asymptotic_tests(m)
    } else {
      coef(summary(lmerTest::as_lmerModLmerTest(m), ddf = ddf))
    }
    half <- qt(1 - (1 - level) / 2, tests[, "df"]) * table[, "se"]
    table <- cbind(
      table,
      df = tests[, "df"], p = tests[, "Pr(>|t|)"], lower = table[, "estimate"] - half,
      upper = table[, "estimate"] + half
    )
  }
  setNames(
    as.vector(table),
    paste("fixef", rep(rownames(table), ncol(table)), rep(colnames(table), each = nrow(table)), sep = "/")
  )
}

# --- published tables -----------------------------------------------------------------------------

# A generalised model of a published table; lme4's own numbers, as no report is made of it.
published_glmer <- function(formula, family, nagq) {
  m <- suppressWarnings(suppressMessages(eval(
    bquote(glmer(.(str2lang(formula)), data = d, family = .(family), nAGQ = .(nagq))), analysis
  )))
  blocks <- do.call(c, unname(Map(block_components, lapply(VarCorr(m), as.matrix), block_groups(m))))
  sds <- blocks[startsWith(names(blocks), "var/")]
  parts <- m@devcomp$cmp
  named_list(c(
    setNames(fixef(m), paste("fixef", names(fixef(m)), "estimate", sep = "/")),
    setNames(fixed_errors_of(m), paste("fixef", names(fixef(m)), "se", sep = "/")),
    setNames(sqrt(sds), paste0(names(sds), "/sd")),
    loglik = as.numeric(logLik(m)), deviance = -2 * as.numeric(logLik(m)), aic = AIC(m),
    bic = BIC(m), laplace = sum(parts[c("drsum", "ussq", "ldL2")])
  ))
}

# The likelihood ratio of two models by ML, and its p by the chi-square distribution alone.
published_ratio <- function(smaller, larger) {
  fits <- lapply(c(smaller, larger), function(f) eval(lmer_call(str2lang(f), FALSE), analysis))
  ratio <- 2 * as.numeric(logLik(fits[[2L]]) - logLik(fits[[1L]]))
  df <- attr(logLik(fits[[2L]]), "df") - attr(logLik(fits[[1L]]), "df")
  list(chisq = ratio, p = pchisq(ratio, df, lower.tail = FALSE))
}
