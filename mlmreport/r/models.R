# Step 5: fit the sequence; coefficients, variance components, convergence of every model.

fit_model <- function(id, formula, reml, optimizer) {
  name <- paste0("m_", id)
  model_object(name, call_of_model(formula, reml, optimizer))
  if (!have(name)) {
    return(list(failed = record$entries[[length(record$entries)]]$reason))
  }
  fit_facts(get(name, envir = analysis))
}

call_of_model <- function(formula, reml, optimizer = "nloptwrap") {
  formula <- str2lang(formula)
  if (optimizer == "nloptwrap") {
    return(lmer_call(formula, reml))
  }
  lmer_call(formula, reml, control = control_call(optimizer))
}

# Models that will be fitted, for the workers to begin with, but for those whose theta is found on
# compressed data.
send_models <- function(formulas, reml, optimizer) {
  calls <- lapply(formulas, call_of_model, reml = reml, optimizer = optimizer)
  if (sends_ahead()) send_ahead(Filter(function(call) is.null(call_at_optimum(call)), calls))
  list()
}

fit_facts <- function(m) {
  list(
    failed = saturated(m), singular = isSingular(m), coefficients = names(fixef(m)),
    dropped = as.character(names(attr(getME(m, "X"), "col.dropped"))),
    blocks = lapply(VarCorr(m), function(v) as.character(rownames(v))),
    groupings = block_groups(m),
    block_names = names(VarCorr(m)),
    messages = complaints(m), evaluation = evaluation_cost(m), theta = length(getME(m, "theta")),
    optimizer = as.character(m@optinfo$optimizer), ahead = found_ahead(m), examined = examined(m)
  )
}

# Whether the gradient at the optimum was looked at, without which no complaint says nothing.
examined <- function(m) !isSingular(m) && !is.null(m@optinfo$derivs)

# What lme4 and the optimizer say about convergence; that a fit is singular is a fact of its own.
complaints <- function(m) {
  said <- as.character(unlist(m@optinfo$conv$lme4$messages))
  said <- said[!grepl("boundary (singular) fit", said, fixed = TRUE)]
  code <- m@optinfo$conv$opt
  if (length(code) && !is.na(code) && code != 0) {
    said <- c(said, paste0("the optimizer stopped with code ", code, ": ", m@optinfo$message))
  }
  as.character(said)
}

# A comparison needs ML when the fixed parts differ; the ML refit is an object of its own.
fit_by_ml <- function(id) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name))
  call <- call_found_ahead(name)
  if (by_reml(name) && !is.null(call)) {
    call$REML <- FALSE
    model_object(paste0("ml_", id), call)
  } else if (by_reml(name)) {
    object(paste0("ml_", id), refitML(M), bind = b)
  } else {
    object(paste0("ml_", id), M, bind = b)
  }
}

# `limits`: whether the fixed effects get t intervals here, not others later.
model_quantities <- function(id, labels, unit, level, ddf, limits) {
  name <- paste0("m_", id)
  model_as_m(name)
  b <- list(
    M = as.name(name), T = as.name(paste0("t_", id)), C = as.name(paste0("coef_", id)), DDF = ddf
  )
  if (ddf == "asymptotic") {
    object(paste0("t_", id), M, bind = b)
    object(paste0("coef_", id), asymptotic_tests(T), bind = b)
  } else {
    object(paste0("t_", id), with_df(M), bind = b)
    if (have(paste0("t_", id))) {
      object(paste0("coef_", id), defined_df(t_tests(T, DDF)), bind = b)
    }
  }
  for (term in names(fixef(m))) fixed_effect(id, name, term, labels, unit, level, ddf, limits, b)
  random_components(id, name, m, labels, unit)
  statistic(
    paste0(id, "/sigma2"), sigma(M)^2,
    if (weighted()) "Residual variance of a row of weight 1" else "Residual variance", "variance",
    squared(unit), bind = b,
    model = name
  )
  statistic(paste0(id, "/sigma"), sigma(M), "Residual SD", "sd", unit, bind = b, model = name)
  statistic(paste0(id, "/nobs"), nobs(M), "Rows", "count", bind = b, model = name)
  for (g in names(getME(m, "flist"))) {
    statistic(
      paste(id, "ngroups", g, sep = "/"), ngrps(M)[[G]], paste("Groups:", g), "count",
      bind = c(b, list(G = g)), model = name
    )
  }
  statistic(
    paste0(id, "/parameters"), parameters(M), "Estimated parameters", "count", bind = b,
    model = name
  )
  if (isREML(m)) {
    statistic(
      paste0(id, "/criterion"), REMLcrit(M), "REML criterion", "criterion", bind = b, model = name,
      method = sprintf("REML, n = %d", nobs(m))
    )
  } else {
    statistic(
      paste0(id, "/criterion"), -2 * as.numeric(logLik(M)), "Deviance", "criterion", bind = b,
      model = name, method = sprintf("ML, n = %d", nobs(m))
    )
  }
  gradient_of(id, name, m, b)
  list()
}

gradient_of <- function(id, name, m, b) {
  at <- paste0(id, "/gradient")
  label <- "Largest scaled gradient at the optimum"
  if (isSingular(m)) {
    absent(at, "at the boundary (a singular fit) the gradient need not be zero", label)
  } else if (is.null(m@optinfo$derivs)) {
    absent(at, "lme4 took no derivatives of this fit", label)
  } else {
    statistic(at, scaled_gradient(M), label, "gradient", bind = b, model = name)
  }
}

squared <- function(unit) if (nzchar(unit)) paste0(unit, "\u00b2") else ""

fixed_effect <- function(id, name, term, labels, unit, level, ddf, limits, b) {
  b <- c(b, list(TERM = term, LEVEL = level, TAIL = 1 - (1 - level) / 2))
  at <- function(what) paste(id, "fixef", term, what, sep = "/")
  label <- if (is.null(labels[[term]])) term else labels[[term]]
  method <- test_of(ddf)
  interval <- interval_of(level, ddf)
  if (have(paste0("coef_", id))) {
    statistic(at("estimate"), C[TERM, "Estimate"], label, "estimate", unit, bind = b, model = name)
    statistic(
      at("se"), C[TERM, "Std. Error"], paste("SE:", label), "se", unit, bind = b, model = name
    )
    statistic(
      at("df"), C[TERM, "df"], paste("df:", label), "df", method = ddf, bind = b, model = name
    )
    statistic(
      at("t"), C[TERM, "t value"], paste("t:", label), "statistic", method = method, bind = b,
      model = name
    )
    statistic(
      at("p"), C[TERM, "Pr(>|t|)"], paste("p:", label), "p", method = method, bind = b, model = name
    )
    if (limits) {
      statistic(
        at("lower"), C[TERM, "Estimate"] - qt(TAIL, C[TERM, "df"]) * C[TERM, "Std. Error"],
        paste("Lower limit:", label), "estimate", unit, interval, name, b
      )
      statistic(
        at("upper"), C[TERM, "Estimate"] + qt(TAIL, C[TERM, "df"]) * C[TERM, "Std. Error"],
        paste("Upper limit:", label), "estimate", unit, interval, name, b
      )
    }
    return(invisible())
  }
  reason <- paste(ddf, "degrees of freedom could not be computed for this model")
  statistic(at("estimate"), fixef(M)[[TERM]], label, "estimate", unit, bind = b, model = name)
  statistic(
    at("se"), sqrt(vcov(M)[TERM, TERM]), paste("SE:", label), "se", unit, bind = b, model = name
  )
  for (what in c("df", "t", "p", if (limits) c("lower", "upper"))) absent(at(what), reason, label)
}

# How a test or an interval of a fixed effect was made, in words.
test_of <- function(ddf) {
  if (ddf == "asymptotic") "z test, normal distribution" else paste("t test,", ddf, "df")
}
interval_of <- function(level, ddf) {
  if (ddf == "asymptotic") {
    sprintf("%g %% Wald interval, normal distribution", 100 * level)
  } else {
    sprintf("%g %% Wald t interval, %s df", 100 * level, ddf)
  }
}

# The predicted time of a model's fit, or of a refit on compressed data where it has them, for the
# reason of what is left out.
cost_of <- function(id, refits) {
  name <- paste0("m_", id)
  problem <- if (refits) compressed(name) else ""
  call <- if (nzchar(problem)) bquote(refit_cost(.(as.name(problem)))) else bquote(fit_cost(.(as.name(name))))
  statistic(
    paste0("models/", if (refits) "refit/" else "cost/", id), CALL,
    if (refits) "Predicted time of one refit" else "Predicted time of one fit", "seconds", "s",
    "counted from the model's matrices", name, list(CALL = call)
  )
  list()
}

random_components <- function(id, name, m, labels, unit) {
  blocks <- VarCorr(m)
  groups <- block_groups(m)
  for (k in seq_along(blocks)) {
    effects <- rownames(blocks[[k]])
    for (i in seq_along(effects)) {
      b <- list(M = as.name(name), B = names(blocks)[k], I = effects[i])
      at <- function(what, ...) paste(id, "var", b$B, b$I, what, ..., sep = "/")
      label <- paste0(groups[k], ", ", effects[i])
      statistic(
        at("variance"), component(M, B, I), paste("Variance:", label), "variance", squared(unit),
        bind = b, model = name
      )
      statistic(
        at("sd"), sqrt(component(M, B, I)), paste("SD:", label), "sd", unit, bind = b, model = name
      )
      for (other in effects[seq_len(i - 1)]) {
        random_pair(at, label, c(b, list(J = other)), unit, name)
      }
    }
  }
}

random_pair <- function(at, label, b, unit, name) {
  label <- paste(label, "with", b$J)
  statistic(
    at("cov", b$J), component(M, B, I, J), paste("Covariance:", label), "covariance",
    squared(unit), bind = b, model = name
  )
  m <- get(name, envir = analysis)
  if (component(m, b$B, b$I) > 0 && component(m, b$B, b$J) > 0) {
    statistic(
      at("cor", b$J), attr(VarCorr(M)[[B]], "correlation")[I, J], paste("Correlation:", label),
      "correlation", bind = b, model = name
    )
  } else {
    absent(
      at("cor", b$J), "one of the two variances is estimated as zero",
      paste("Correlation:", label)
    )
  }
}

# Intervals of the SDs and correlations of one model (`variances`), and of its fixed effects
# (`fixed`), by profile likelihood or bootstrap; where both are by the same method, from one run.
parameter_intervals <- function(id, variances, fixed, level, nsim, seed, labels, unit) {
  name <- paste0("m_", id)
  ci <- paste0("ci_", id)
  b <- list(M = as.name(name), LEVEL = level, NSIM = nsim, SEED = seed)
  of_fixed <- if (fixed == variances) ci else paste0("ci_fixed_", id)
  if (variances != "none") {
    confidence(ci, if (fixed == variances) "all" else "theta_", variances, name, b)
    likelihood <- likelihood_of(by_reml(name))
    said <- interval_method(variances, level, nsim, name, likelihood)
    variance_limits(id, ci, said, name, b)
  }
  if (fixed != "t") {
    if (fixed != variances) confidence(of_fixed, "beta_", fixed, name, b)
    said <- interval_method(fixed, level, nsim, name)
    fixed_limits(id, of_fixed, said, labels, unit, name, b)
  }
  list()
}

interval_method <- function(method, level, nsim, name, likelihood = "ML", on = profiled_on(name)) {
  if (method == "profile") {
    return(sprintf("%g %% profile-likelihood interval (%s), %s", 100 * level, likelihood, on))
  }
  sprintf(
    "%g %% parametric bootstrap percentile interval, %d samples, %s", 100 * level, nsim, refits_by(name)
  )
}

confidence <- function(ci, parm, method, name, b) {
  problem <- if (method == "profile") profiled(name) else ""
  call <- if (method == "bootstrap") {
    b$BOOT <- as.name(bootstrapped(name, b$NSIM, b$SEED))
    quote(bootstrap_limits(BOOT$values, LEVEL))
  } else if (nzchar(problem)) {
    b$P <- as.name(problem)
    b$REML <- parm != "beta_" && by_reml(name)
    if (b$REML) quote(profile_limits(P, level = LEVEL, reml = REML)) else quote(profile_limits(P, level = LEVEL))
  } else {
    quote(confint_profile(M, level = LEVEL))
  }
  if (method == "profile" && parm != "all") call <- as.call(append(as.list(call), list(parm), 2L))
  object(ci, CALL, bind = list(CALL = resolve(call, b)))
}

variance_limits <- function(id, ci, said, name, b) {
  b$CI <- as.name(ci)
  for (row in interval_rows(get(name, envir = analysis))) {
    b$ROW <- row$row
    for (side in c("lower", "upper")) {
      at <- paste(id, "var", row$block, row$i, row$what, row$j, side, sep = "/")
      at <- gsub("//", "/", at, fixed = TRUE)
      b$SIDE <- if (side == "lower") 1 else 2
      if (have(ci)) {
        statistic(
          at, CI[ROW, SIDE], paste(side, "limit:", row$row), row$type, method = said, bind = b,
          model = name, otherwise = no_limit(row$what)
        )
      } else {
        absent(at, "the interval could not be computed for this model", row$row)
      }
    }
  }
}

# Why a limit is not there although the others are.
no_limit <- function(what) {
  if (what == "cor") {
    return("the likelihood does not determine this correlation, as next to a variance of zero")
  }
  "this limit could not be found from the likelihood profile"
}

fixed_limits <- function(id, ci, said, labels, unit, name, b) {
  b$CI <- as.name(ci)
  for (term in names(fixef(get(name, envir = analysis)))) {
    b$TERM <- term
    label <- if (is.null(labels[[term]])) term else labels[[term]]
    for (side in c("lower", "upper")) {
      at <- paste(id, "fixef", term, side, sep = "/")
      b$SIDE <- if (side == "lower") 1 else 2
      if (have(ci)) {
        statistic(
          at, CI[TERM, SIDE], paste(side, "limit:", label), "estimate", unit, said, name, b,
          otherwise = no_limit("fixed effect")
        )
      } else {
        absent(at, "the interval could not be computed for this model", label)
      }
    }
  }
}

# The row names of confint_profile(), in lme4's order, beside what they stand for.
interval_rows <- function(m) {
  rows <- list()
  groups <- setNames(block_groups(m), names(VarCorr(m)))
  for (block in names(VarCorr(m))) {
    group <- groups[[block]]
    effects <- rownames(VarCorr(m)[[block]])
    for (j in seq_along(effects)) {
      for (i in j:length(effects)) {
        row <- if (i == j) {
          list(
            row = paste0("sd_", effects[i], "|", group), block = block, i = effects[i], what = "sd",
            j = "", type = "sd"
          )
        } else {
          list(
            row = paste0("cor_", effects[i], ".", effects[j], "|", group), block = block,
            i = effects[i], what = "cor", j = effects[j], type = "correlation"
          )
        }
        rows[[length(rows) + 1L]] <- row
      }
    }
  }
  c(
    rows,
    list(list(row = "sigma", block = "residual", i = "residual", what = "sd", j = "", type = "sd"))
  )
}

# --- other optimizers and other random structures -------------------------------------------------

# Why nothing is left to estimate a variance: no residual, or as many coefficients, the intercept
# among them, as groups are constant within all of them.
saturated <- function(m) {
  x <- getME(m, "X")
  if (sigma(m)^2 <= 1e-10 * var(getME(m, "y"))) {
    return("its fixed and random effects give the outcome without error, no residual is left")
  }
  for (g in names(getME(m, "flist"))) {
    groups <- getME(m, "flist")[[g]]
    if (ncol(x) < nlevels(groups)) next
    constant <- apply(x, 2L, function(column) {
      all(abs(column - ave(column, groups)) <= 1e-8 * max(abs(column)))
    })
    rank <- qr(x[!duplicated(groups), constant, drop = FALSE])$rank
    if (rank >= nlevels(groups)) {
      return(sprintf(
        paste(
          "%d of its coefficients (the intercept counted) differ only between the %d groups of",
          "'%s', which leaves nothing to estimate the variance between them"
        ), rank, nlevels(groups), g
      ))
    }
  }
  ""
}

refit_name <- function(id, optimizer) paste("opt", id, optimizer, sep = "_")

# The model fitted again by other optimizers of lme4; which of them gave a fit, how far its
# log-likelihood is above the model's, and what lme4 has against it.
refit_by_others <- function(id, optimizers) {
  m <- as.name(paste0("m_", id))
  refit_each(refit_name(id, optimizers), m, optimizers)
  fitted <- optimizers[vapply(refit_name(id, optimizers), have, FALSE)]
  own <- as.numeric(logLik(get(as.character(m), envir = analysis)))
  facts <- lapply(refit_name(id, fitted), function(name) { # one in memory at a time
    fit <- get(name, envir = analysis)
    list(
      gain = as.numeric(logLik(fit)) - own, singular = isSingular(fit), examined = examined(fit),
      complained = length(complaints(fit)) > 0L || found_ahead(fit) && warned(name)
    )
  })
  list(
    fitted = as.character(fitted), gain = vapply(facts, `[[`, 0, "gain"),
    complained = vapply(facts, `[[`, FALSE, "complained"), singular = vapply(facts, `[[`, FALSE, "singular"),
    examined = vapply(facts, `[[`, FALSE, "examined")
  )
}

# Whether an optimizer warned that it stopped short; of a search on compressed data the model does not tell.
warned <- function(name) {
  any(vapply(record$conditions, function(x) {
    x$name == name && x$kind == "warning" && grepl("convergence code|to converge", x$text)
  }, FALSE))
}

# The refit by the optimizer `best` takes the model's name, the first fit that of a refit.
keep_better <- function(id, first, best) {
  name <- paste0("m_", id)
  object(refit_name(id, first), M, bind = list(M = as.name(name)))
  object(name, M, bind = list(M = as.name(refit_name(id, best))))
  fit_facts(get(name, envir = analysis))
}

# How the fits by other optimizers differ from the reported one.
compare_optimizers <- function(id, optimizers) {
  name <- paste0("m_", id)
  for (optimizer in optimizers) {
    other <- refit_name(id, optimizer)
    b <- list(M = as.name(name), O = as.name(other))
    at <- function(what) paste(id, "optimizer", optimizer, what, sep = "/")
    if (!have(other)) {
      for (what in c("gain", "shift", "covariance")) absent(at(what), "this optimizer gave no fit", optimizer)
      next
    }
    statistic(
      at("gain"), round(as.numeric(logLik(O)) - as.numeric(logLik(M)), 5),
      paste("Log-likelihood above that of the model:", optimizer), "difference", bind = b,
      model = other
    )
    statistic(
      at("shift"), round(largest_change(fixed_part(M), fixed_part(O)), 5),
      paste("Largest difference of a fixed effect, in SE:", optimizer), "difference", bind = b,
      model = other
    )
    statistic(
      at("covariance"), round(covariance_change(M, O), 5),
      paste("Largest relative difference of a (co)variance of random effects:", optimizer), "difference",
      bind = b, model = other
    )
  }
  list()
}

# The dimensions in which the random effects of a grouping vary.
random_dimensions <- function(id, group) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), G = group)
  at <- function(what) paste("models/pca", group, what, sep = "/")
  said <- "principal components of the relative covariance (lme4::rePCA)"
  statistic(
    at("dimensions"), dimensions(M, G), "Dimensions that carry variance", "count", "", said, name, b
  )
  statistic(
    at("effects"), length(rePCA(M)[[G]]$sdev), "Random effects", "count", "", said, name, b
  )
  statistic(
    at("last"), min(pca_shares(M, G)), "Share of variance of the last dimension", "share", "",
    said, name, b
  )
  list()
}

# The fixed part of a model with another random part.
fit_structure <- function(key, id, formula, labels, unit, level, same) {
  name <- paste0("s_", key)
  m <- paste0("m_", id)
  b <- list(
    M = as.name(m), S = as.name(name), FORMULA = str2lang(formula),
    REML = isREML(get(m, envir = analysis)), Q = 1 - (1 - level) / 2
  )
  at <- function(what) paste("models/structures", key, what, sep = "/")
  if (same) {
    object(name, M, bind = b)
  } else {
    control <- get(m, envir = analysis)@call$control
    call <- lmer_call(b$FORMULA, b$REML)
    if (!is.null(control)) call$control <- control
    model_object(name, call)
  }
  if (!have(name)) {
    return(list(fitted = FALSE, singular = FALSE))
  }
  terms_ <- names(fixef(get(name, envir = analysis)))
  for (term in terms_) {
    b$TERM <- term
    label <- if (is.null(labels[[term]])) term else labels[[term]]
    statistic(
      at(paste0("fixef/", term, "/estimate")), fixef(S)[[TERM]], label, "estimate", unit, "", name,
      b
    )
    statistic(
      at(paste0("fixef/", term, "/se")), sqrt(vcov(S)[TERM, TERM]), paste("SE:", label), "se", unit,
      "", name, b
    )
  }
  if (length(setdiff(terms_, "(Intercept)"))) {
    series(
      at("estimates"), fixef(S)[names(fixef(S)) != "(Intercept)"], "Estimates", model = name,
      bind = b
    )
    series(
      at("lower"), fixed_limit(S, -qnorm(Q)), "Lower limits", model = name, bind = b
    )
    series(
      at("upper"), fixed_limit(S, qnorm(Q)), "Upper limits", model = name, bind = b
    )
  }
  statistic(
    at("shift"), largest_change(fixed_part(M), fixed_part(S)),
    "Largest difference of a fixed effect, in SE", "ratio", "", "", name, b
  )
  statistic(
    at("se_ratio"), largest_se_ratio(fixed_part(M), fixed_part(S)),
    "Largest ratio of two standard errors", "ratio", "", "", name, b
  )
  statistic(
    at("criterion"), -2 * as.numeric(logLik(S)), "-2 log-likelihood", "criterion", "",
    if (b$REML) "REML" else "ML", name, b
  )
  statistic(
    at("parameters"), parameters(S), "Estimated parameters", "count", "", "", name, b
  )
  list(fitted = TRUE, singular = isSingular(get(name, envir = analysis)))
}

# A random slope tested: `larger` and `smaller` are objects or formulas to fit; the null distribution
# is simulated `by` RLRsim, for which `alone` is the formula with nothing random but the slope, or by
# the bootstrap.
test_slope <- function(key, reml, larger, smaller, df, alone, by, reason, simulations, seed, label) {
  at <- function(what) paste("models/slope", key, what, sep = "/")
  larger <- slope_model(paste0("slope_larger_", make.names(key)), larger, reml)
  smaller <- slope_model(paste0("slope_smaller_", make.names(key)), smaller, reml)
  method <- if (reml) "REML" else "ML"
  labels <- c(
    chisq = "Likelihood-ratio statistic", df = "Parameters", p = "p, mixture of chi-squares",
    p_exact = "p, simulated null distribution"
  )
  if (!have(larger, smaller)) {
    for (what in names(labels)) {
      absent(at(what), "one of the two models could not be fitted", label)
    }
    return(list(singular = FALSE))
  }
  b <- c(ratio_of(smaller, larger), DF = df, NSIM = simulations, SEED = seed)
  statistic(
    at("chisq"), RATIO, paste0(labels[["chisq"]], ": ", label), "statistic",
    bind = b, model = larger, method = method
  )
  statistic(at("df"), DF, labels[["df"]], "integer", bind = b, model = larger)
  statistic(
    at("p"), boundary_p(RATIO, DF), paste0(labels[["p"]], ": ", label), "p",
    bind = b, model = larger,
    method = sprintf("%s; mixture of chi-squares with %d and %d df", method, df - 1, df)
  )
  if (nzchar(reason)) {
    absent(at("p_exact"), reason, labels[["p_exact"]])
  } else if (by == "bootstrap") {
    statistic(
      at("p_exact"), bootstrap_ratio_p(RATIO, ratio_design(compress(B), fit_of(A)), NSIM, SEED),
      paste0(labels[["p_exact"]], ": ", label),
      "p", bind = b, model = larger,
      method = sprintf("parametric bootstrap, %d samples at most", simulations),
      otherwise = "the null distribution could not be simulated"
    )
  } else {
    only <- slope_model(paste0("slope_alone_", make.names(key)), alone, TRUE)
    b$ONLY <- as.name(only)
    statistic(
      at("p_exact"), simulated_ratio_p(ONLY, RATIO, NSIM, SEED),
      paste0(labels[["p_exact"]], ": ", label), "p", bind = b, model = larger,
      method = sprintf(
        "restricted likelihood ratio, %d simulated samples (RLRsim); p = (b + 1) / (B + 1)", simulations
      ),
      otherwise = "the null distribution could not be simulated"
    )
  }
  list(singular = isSingular(get(larger, envir = analysis)))
}

# The name of an object that is there, or of the one fitted from a formula.
slope_model <- function(name, what, reml) {
  if (!grepl("~", what, fixed = TRUE)) {
    return(what)
  }
  model_object(name, lmer_call(str2lang(what), reml))
  settle(name)
  name
}
