# Step 5: fit the sequence; coefficients, variance components, convergence of every model.

fit_model <- function(id, formula, reml, optimizer) {
  name <- paste0("m_", id)
  b <- list(FORMULA = str2lang(formula), REML = reml)
  if (optimizer == "nloptwrap") {
    object(name, lmer(FORMULA, data = d, REML = REML), bind = b)
  } else {
    b$OPT <- optimizer
    object(
      name, lmer(FORMULA, data = d, REML = REML, control = lmerControl(optimizer = OPT)), bind = b
    )
  }
  if (!have(name)) {
    return(list(failed = record$entries[[length(record$entries)]]$reason))
  }
  m <- get(name, envir = analysis)
  list(
    failed = "", singular = isSingular(m), coefficients = names(fixef(m)),
    dropped = as.character(names(attr(getME(m, "X"), "col.dropped"))),
    blocks = lapply(VarCorr(m), function(v) as.character(rownames(v))),
    groupings = block_groups(m),
    block_names = names(VarCorr(m)),
    flist = names(getME(m, "flist")),
    messages = complaints(m),
    optimizer = as.character(m@optinfo$optimizer)
  )
}

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
  b <- list(M = as.name(paste0("m_", id)))
  if (isREML(get(paste0("m_", id), envir = analysis))) {
    object(paste0("ml_", id), refitML(M), bind = b)
  } else {
    object(paste0("ml_", id), M, bind = b)
  }
}

model_quantities <- function(id, labels, unit, level, ddf) {
  name <- paste0("m_", id)
  m <- get(name, envir = analysis)
  b <- list(
    M = as.name(name), T = as.name(paste0("t_", id)), C = as.name(paste0("coef_", id)), DDF = ddf
  )
  object(paste0("t_", id), lmerTest::as_lmerModLmerTest(M), bind = b)
  if (have(paste0("t_", id))) {
    object(paste0("coef_", id), coef(summary(T, ddf = DDF)), bind = b)
  }
  for (term in names(fixef(m))) fixed_effect(id, name, term, labels, unit, level, ddf, b)
  random_components(id, name, m, labels, unit)
  statistic(
    paste0(id, "/sigma2"), sigma(M)^2, "Residual variance", "variance", squared(unit), bind = b,
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
    absent(at, "lme4 computes no derivatives for data of this size", label)
  } else {
    statistic(at, scaled_gradient(M), label, "gradient", bind = b, model = name)
  }
}

squared <- function(unit) if (nzchar(unit)) paste0(unit, "\u00b2") else ""

fixed_effect <- function(id, name, term, labels, unit, level, ddf, b) {
  b <- c(b, list(TERM = term, LEVEL = level, TAIL = 1 - (1 - level) / 2))
  at <- function(what) paste(id, "fixef", term, what, sep = "/")
  label <- if (is.null(labels[[term]])) term else labels[[term]]
  method <- paste("t test,", ddf, "df")
  interval <- sprintf("%g %% Wald t interval, %s df", 100 * level, ddf)
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
    statistic(
      at("lower"), C[TERM, "Estimate"] - qt(TAIL, C[TERM, "df"]) * C[TERM, "Std. Error"],
      paste("Lower limit:", label), "estimate", unit, interval, name, b
    )
    statistic(
      at("upper"), C[TERM, "Estimate"] + qt(TAIL, C[TERM, "df"]) * C[TERM, "Std. Error"],
      paste("Upper limit:", label), "estimate", unit, interval, name, b
    )
    return(invisible())
  }
  reason <- paste(ddf, "degrees of freedom could not be computed for this model")
  statistic(at("estimate"), fixef(M)[[TERM]], label, "estimate", unit, bind = b, model = name)
  statistic(
    at("se"), sqrt(vcov(M)[TERM, TERM]), paste("SE:", label), "se", unit, bind = b, model = name
  )
  for (what in c("df", "t", "p", "lower", "upper")) absent(at(what), reason, label)
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
        random_pair(at, blocks[[k]], label, c(b, list(J = other)), unit, name)
      }
    }
  }
}

random_pair <- function(at, block, label, b, unit, name) {
  label <- paste(label, "with", b$J)
  statistic(
    at("cov", b$J), component(M, B, I, J), paste("Covariance:", label), "covariance",
    squared(unit), bind = b, model = name
  )
  if (block[b$I, b$I] > 0 && block[b$J, b$J] > 0) {
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

# Intervals of the SDs and correlations of one model, by profile likelihood or bootstrap.
variance_intervals <- function(id, level, method, nsim, seed) {
  name <- paste0("m_", id)
  ci <- paste0("ci_", id)
  m <- get(name, envir = analysis)
  b <- list(M = as.name(name), LEVEL = level, CI = as.name(ci), NSIM = nsim, SEED = seed)
  if (method == "profile") {
    object(
      ci,
      confint(
        M, parm = "theta_", level = LEVEL, method = "profile", oldNames = FALSE, quiet = TRUE
      ),
      bind = b
    )
    said <- sprintf("%g %% profile-likelihood interval (ML)", 100 * level)
  } else {
    object(ci, {
      set.seed(SEED, "Mersenne-Twister", "Inversion", "Rejection")
      confint(
        M, parm = "theta_", level = LEVEL, method = "boot", nsim = NSIM, oldNames = FALSE,
        quiet = TRUE
      )
    }, bind = b)
    said <- sprintf("%g %% parametric bootstrap percentile interval, %d samples", 100 * level, nsim)
  }
  for (row in interval_rows(m)) {
    b$ROW <- row$row
    for (side in c("lower", "upper")) {
      at <- paste(id, "var", row$block, row$i, row$what, row$j, side, sep = "/")
      at <- gsub("//", "/", at, fixed = TRUE)
      b$SIDE <- if (side == "lower") 1 else 2
      if (have(ci)) {
        statistic(
          at, CI[ROW, SIDE], paste(side, "limit:", row$row), row$type, method = said, bind = b,
          model = name, otherwise = "this limit could not be found from the likelihood profile"
        )
      } else {
        absent(at, "the interval could not be computed for this model", row$row)
      }
    }
  }
  list()
}

# The row names of confint(oldNames = FALSE), in lme4's order, beside what they stand for.
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
