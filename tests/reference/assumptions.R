# Checks of four data sets of R packages by plain lme4 and nlme, a line a number: its name, its value.
suppressMessages(library(lme4))
say <- function(name, x) cat(paste0(name, "\t", sprintf("%.15g", x), "\n"))
ratio <- function(smaller, larger) 2 * as.numeric(logLik(larger) - logLik(smaller))
tight <- nlme::lmeControl(opt = "optim", maxIter = 200, msMaxIter = 200, tolerance = 1e-8, msTol = 1e-10)
outer_sd <- function(x, e, side) {
  ends <- quantile(x, c(0.2, 0.8))
  sd(e[if (side == "low") x <= ends[1L] else x >= ends[2L]])
}
bend <- function(x, u) {
  u <- resid(lm(u ~ x))
  s <- lowess(x, u)
  inside <- s$x >= quantile(x, 0.025) & s$x <= quantile(x, 0.975)
  max(abs(s$y[inside])) / sd(u)
}

# Sleep: autoregressive errors.
m <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy)
ar <- suppressWarnings(nlme::lme(
  Reaction ~ Days, sleepstudy, list(Subject = nlme::pdSymm(~Days)), nlme::corCAR1(form = ~ Days | Subject),
  control = tight
))
say("sleep/phi", coef(ar$modelStruct$corStruct, unconstrained = FALSE))
say("sleep/chisq", 2 * (as.numeric(logLik(ar)) - as.numeric(logLik(m))))
covariance <- nlme::getVarCov(ar)
say("sleep/intercept", sqrt(covariance[1L, 1L]))
say("sleep/slope", sqrt(covariance[2L, 2L]))

# Growth: the slope over one grouping removed, autoregressive errors in nested groupings.
data(egsingle, package = "mlmRev")
full <- math ~ year * lowinc + (year | childid) + (year | schoolid)
m <- lmer(full, egsingle, REML = FALSE)
single <- lmer(
  math ~ year * lowinc + (1 | childid) + (0 + year | childid) + (1 | schoolid) + (0 + year | schoolid),
  egsingle, REML = FALSE
)
say("growth/pupils/removed", ratio(update(m, . ~ . - (year | childid) + (1 | childid)), m))
say("growth/schools/removed", ratio(update(m, . ~ . - (year | schoolid) + (1 | schoolid)), m))
say("growth/pupils/independent", ratio(update(single, . ~ . - (0 + year | childid)), single))
say("growth/schools/independent", ratio(update(single, . ~ . - (0 + year | schoolid)), single))
ar <- suppressWarnings(nlme::lme(
  math ~ year * lowinc, egsingle,
  list(schoolid = nlme::pdSymm(~year), childid = nlme::pdSymm(~year)),
  nlme::corCAR1(form = ~ year | schoolid / childid), method = "ML", control = tight
))
say("growth/phi", coef(ar$modelStruct$corStruct, unconstrained = FALSE))
say("growth/chisq", 2 * (as.numeric(logLik(ar)) - as.numeric(logLik(m))))
say("growth/pupil slope", sqrt(as.matrix(ar$modelStruct$reStruct$childid)[2L, 2L]) * ar$sigma)
say("growth/school slope", sqrt(as.matrix(ar$modelStruct$reStruct$schoolid)[2L, 2L]) * ar$sigma)
modes <- ranef(m)$schoolid
u <- modes[["(Intercept)"]] + modes$year * mean(egsingle$year)
say("growth/bend", bend(as.vector(tapply(egsingle$lowinc, egsingle$schoolid, mean)), u))

# Language: group mean added, spread, trend between schools, variance at the mean.
bobyqa <- lmerControl(optimizer = "bobyqa")
d <- transform(nlme::bdf, x = IQ.verb, g = schoolNR)
d$mean <- ave(d$x, d$g)
m <- lmer(langPOST ~ x + (x | g), d, control = bobyqa)
with_mean <- lmerTest::lmer(langPOST ~ x + mean + (x | g), d, control = bobyqa)
row <- coef(summary(with_mean))["mean", ]
say("language/difference", row[["Estimate"]])
say("language/t", row[["t value"]])
say("language/df", row[["df"]])
e <- resid(m)
say("language/low", outer_sd(d$x, e, "low"))
say("language/high", outer_sd(d$x, e, "high"))
ranks <- cor(rank(d$x), rank(abs(e)))
say("language/correlation", ranks)
say("language/p", 2 * pt(-abs(ranks) * sqrt((nrow(d) - 2) / (1 - ranks^2)), nrow(d) - 2))
modes <- ranef(m)$g
say("language/bend", bend(as.vector(tapply(d$x, d$g, mean)), modes[[1L]] + modes[[2L]] * mean(d$x)))
null <- lmer(langPOST ~ 1 + (1 | g), d)
centred <- lmer(langPOST ~ I(x - mean(x)) + (1 + I(x - mean(x)) | g), d)
say("language/reduction", 1 - VarCorr(centred)$g[1L, 1L] / VarCorr(null)$g[1L, 1L])

# Tracer: without the outlying rows, and AIC of the outcome on other scales from its log density.
d <- nlme::IGF
d$g <- factor(as.character(d$Lot))
m <- lmer(conc ~ age + (1 | g), d)
out <- which(abs(resid(m)) > 3.29 * sigma(m))
first <- which.max(abs(resid(m)))
say("tracer/first", first)
without <- lmer(conc ~ age + (1 | g), d[-out, ])
say("tracer/age", fixef(without)[["age"]])
say("tracer/sigma", sigma(without))
null <- lmer(conc ~ 1 + (1 | g), d[-out, ])
say("tracer/icc", VarCorr(null)$g[1L] / (VarCorr(null)$g[1L] + sigma(null)^2))
say("tracer/p", RLRsim::exactRLRT(null, nsim = 50000, seed = 3)$p.value)
density_aic <- function(y, derivative) {
  m <- suppressMessages(lmer(y ~ age + (1 | g), cbind(d, y = y), REML = FALSE))
  AIC(m) - 2 * sum(log(derivative))
}
say("tracer/aic/model", density_aic(d$conc, 1))
say("tracer/aic/log", density_aic(log(d$conc), 1 / d$conc))
say("tracer/aic/sqrt", density_aic(sqrt(d$conc), 0.5 / sqrt(d$conc)))
