// Command eso is the External Secrets Operator, as published.
package main

import "github.com/external-secrets/external-secrets/cmd/controller"

func main() { controller.Execute() }
