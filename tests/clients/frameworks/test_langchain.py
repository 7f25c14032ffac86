"""langchain-openai, by LangChain's own suite for chat models, and an agent's loop by hand."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tests.clients.served import KEY, Served


class TestOfLangChain(ChatModelIntegrationTests):
    """The model obeys, so what it says in these tests is what their texts lead it to."""

    @pytest.fixture(scope="class", autouse=True)
    def _served(self, scripted: Served) -> None:
        type(self).served = scripted

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        options = {"model": "scripted", "base_url": self.served.v1, "api_key": KEY}
        return {**options, "stream_usage": True, "max_retries": 0}

    @property
    def has_tool_choice(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True
