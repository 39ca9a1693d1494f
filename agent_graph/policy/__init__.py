"""Between a plan and reality: the plan compiler, the policy, and the expressions they use."""
