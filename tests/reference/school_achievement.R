# The numbers of the school-achievement report, computed a second way: data prepared in R, nlme for
# the models, emmeans for slopes and predictions, performance for R2, base R for the rest.
# Prints name and value, tab-separated.

args <- commandArgs(trailingOnly = TRUE)
suppressPackageStartupMessages({
  library(nlme)
  library(emmeans)
})
say <- function(name, value) cat(name, "\t", sprintf("%.17g", value), "\n", sep = "")

students <- read.csv(file.path(args[1], "students.csv"), stringsAsFactors = TRUE)
schools <- read.csv(file.path(args[1], "schools.csv"), stringsAsFactors = TRUE)
d <- merge(students, schools, by = "school", sort = FALSE)
d$school <- factor(d$school)
d$minority <- relevel(d$minority, "No")
d$sex <- relevel(d$sex, "Male")
d$sector <- relevel(d$sector, "Public")
d$ses_within <- d$ses - ave(d$ses, d$school)

# --- structure
sizes <- table(d$school)
say("structure/cv", sd(sizes) / mean(sizes))
say("structure/median", median(sizes))
between <- anova(lm(ses ~ school, d))$"Sum Sq"
say("structure/between_ses", between[1] / sum(between))
say("structure/meanses_sd", sd(schools$meanses))
say("structure/catholic", sum(schools$sector == "Catholic"))

# --- null model and ICC
null <- lme(mathach ~ 1, random = ~ 1 | school, data = d)
tau <- getVarCov(null)[1, 1]
say("icc/icc", tau / (tau + null$sigma^2))
say("icc/design_effect", 1 + (sum(sizes^2) / sum(sizes) - 1) * tau / (tau + null$sigma^2))
say("icc/reliability", mean(tau / (tau + null$sigma^2 / sizes)))

# --- final model
fixed <- mathach ~ minority + sex + ses_within * sector + ses_within * meanses
final <- lme(
  fixed, random = ~ ses_within | school, data = d,
  control = lmeControl(opt = "optim", msTol = 1e-12, reltol = 1e-14, maxIter = 500, msMaxIter = 500)
)
for (term in names(fixef(final))) {
  say(paste0("fixef/", term, "/estimate"), fixef(final)[[term]])
  say(paste0("fixef/", term, "/se"), sqrt(vcov(final)[term, term]))
}
g <- getVarCov(final)
say("var/intercept", g[1, 1])
say("var/slope", g[2, 2])
say("var/residual", final$sigma^2)
say("reml", -2 * as.numeric(logLik(final)))
ml <- update(final, method = "ML")
say("ml/aic", AIC(ml))
say("ml/bic", BIC(ml))
say("range/lower", fixef(final)[["ses_within"]] - qnorm(0.975) * sqrt(g[2, 2]))
say("range/opposite", pnorm(0, abs(fixef(final)[["ses_within"]]), sqrt(g[2, 2])))

# --- slopes and predictions
at <- list(meanses = mean(schools$meanses), minority = "No", sex = "Male", ses_within = 0)
slopes <- summary(emtrends(final, ~sector, var = "ses_within", at = at))
say("slopes/Public", slopes[1, 2])
say("slopes/Catholic", slopes[2, 2])
say("slopes/Catholic/se", slopes$SE[2])
at$ses_within <- mean(d$ses_within)
average <- summary(emmeans(final, ~1, at = c(at, list(sector = "Public"))))
say("average/estimate", average$emmean)
say("average/se", average$SE)

# --- collinearity, residuals, least squares
v <- cov2cor(vcov(final)[-1, -1])
for (term in rownames(v)) {
  others <- setdiff(rownames(v), term)
  r2 <- v[term, others] %*% solve(v[others, others]) %*% v[others, term]
  say(paste0("vif/", term), 1 / (1 - r2))
}
e <- resid(final, level = 1)
say("residual/skewness", mean((e - mean(e))^3) / mean((e - mean(e))^2)^1.5)
say("residual/spread", cor(rank(fitted(final)), rank(abs(e))))
ols <- lm(fixed, d)
for (term in names(coef(ols))) say(paste0("ols/", term, "/se"), summary(ols)$coefficients[term, 2])

# --- equality of the level-1 variances; dummies, as a school may have one sex only
within <- lapply(split(d, d$school), function(s) {
  fit <- lm(mathach ~ I(minority == "Yes") + I(sex == "Female") + ses_within, s)
  c(fit$df.residual, summary(fit)$sigma^2)
})
w <- do.call(rbind, within)
w <- w[w[, 1] >= 10, ]
dj <- (log(w[, 2]) - weighted.mean(log(w[, 2]), w[, 1])) / sqrt(2 / w[, 1])
say("homogeneity/H", sum(dj^2))
say("homogeneity/groups", nrow(w))

# --- R2
if (requireNamespace("performance", quietly = TRUE) && requireNamespace("lme4", quietly = TRUE)) {
  m <- lme4::lmer(
    mathach ~ minority + sex + ses_within * sector + ses_within * meanses + (ses_within | school), d
  )
  r2 <- performance::r2_nakagawa(m)
  say("r2/marginal", r2$R2_marginal)
  say("r2/conditional", r2$R2_conditional)
}
