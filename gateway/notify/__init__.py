"""Notifications: who is told of which alarm, when, how often and where. The union is the register of receivers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.notify.mqtt import MqttConfig
from gateway.notify.receiver import Item, Message, Receiver, Rejected
from gateway.notify.smtp import SmtpConfig
from gateway.notify.webhook import WebhookConfig

AnyReceiver = Annotated[SmtpConfig | WebhookConfig | MqttConfig, Field(discriminator="kind")]
RECEIVERS: tuple[type[SmtpConfig] | type[WebhookConfig] | type[MqttConfig], ...] = (SmtpConfig, WebhookConfig, MqttConfig)

__all__ = ["RECEIVERS", "AnyReceiver", "Item", "Message", "MqttConfig", "Receiver", "Rejected", "SmtpConfig", "WebhookConfig"]
