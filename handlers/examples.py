"""Examples of bodies, by the type that describes them, shown in the OpenAPI document. Pure; tests validate each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers import (
    schemas,
    schemas_builds,
    schemas_changes,
    schemas_configuration,
    schemas_tokens,
    schemas_traffic,
)

BODIES: Mapping[Any, Mapping[str, Any]] = {
    schemas.NewApp: {"an app": {"name": "my-api", "labels": {"team": "web"}}},
    schemas.NewArtifact: {"an executable": {"name": "server", "content_type": "application/octet-stream"}},
    schemas.NewDeployment: {
        "a native executable": {
            "artifact_id": "0b7f6b6e-6b0c-4d5e-9d51-3d1f0f6e2a11",
            "process_type": "tish",
            "replicas": 1,
            "environment": "development",
            "networking": {"port": 8080},
        },
        "several replicas with limits": {
            "artifact_id": "0b7f6b6e-6b0c-4d5e-9d51-3d1f0f6e2a11",
            "replicas": 2,
            "environment": "production",
            "resources": {"cpu": "250m", "memory": "256Mi"},
            "networking": {"health_path": "/health"},
            "env": {"LOG_LEVEL": "info"},
            "idle_timeout_secs": 60,
        },
    },
    schemas_changes.DeploymentChange: {
        "scale to three": {"spec": {"replicas": 3}},
        "put to sleep": {"spec": {"replicas": 0}},
        "another image": {"spec": {"image": "ghcr.io/myorg/my-api:2"}},
    },
    schemas_changes.Rollback: {"production": {"environment": "production"}},
    schemas_changes.Promotion: {"to production": {"strategy": "instant", "environment": "production"}},
    schemas_traffic.Lease: {"ten minutes": {"for_secs": 600}},
    schemas_configuration.AppChange: {
        "what new deployments inherit": {
            "description": "the public API",
            "default_deployment_spec": {"resources": {"memory": "256Mi"}, "idle_timeout_secs": 60},
        }
    },
    schemas_configuration.VariablesBody: {
        "a value and a secret": {"LOG_LEVEL": "info", "API_KEY": {"value": "s3cret", "secret": True}}
    },
    schemas_configuration.VariablesPatch: {"change one, remove one": {"LOG_LEVEL": "debug", "OLD": None}},
    schemas_configuration.NewEnvironment: {"staging": {"slug": "staging"}},
    schemas_configuration.NewDomain: {
        "a domain": {"domain": "shop.example.com", "environment": "production"}
    },
    schemas_configuration.NewRegistry: {
        "credentials": {"host": "registry.example.com", "username": "deployer", "password": "s3cret"}
    },
    schemas_builds.SourceBody: {
        "a program that make builds": {
            "type": "github",
            "repository": "myorg/my-api",
            "build": {"kind": "command", "command": "make", "artifact_path": "server"},
            "webhook_secret": "s3cret",
        },
        "a Dockerfile in a folder": {
            "type": "github",
            "repository": "myorg/mono",
            "root_dir": "services/api",
            "build": {"kind": "dockerfile"},
            "environment": "production",
            "access_token": "ghp_example",
        },
    },
    schemas_builds.Trigger: {"the head of a branch": {"branch": "main", "environment": "development"}},
    schemas_builds.NewBuild: {"a tag": {"app_id": "0b7f6b6e-6b0c-4d5e-9d51-3d1f0f6e2a11", "ref": "v1.2.0"}},
    schemas_tokens.NewToken: {"for a pipeline": {"name": "ci", "scope": "deploy"}},
    schemas.Nothing: {"nothing": {}},
}
